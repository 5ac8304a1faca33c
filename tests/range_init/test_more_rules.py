from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.config.schema import load_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.range_init import (
    AciqRange,
    KlRange,
    LpRange,
    MaeRange,
    MaxRange,
    MixedClippingRange,
    MseRange,
    RangeInitializer,
    RangeTask,
)
from nncf_mcq.range_init.aciq import optimal_threshold
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.range_init.grid import Grid, QuantizationMode
from nncf_mcq.range_init.kl import FEWEST_WEIGHTS, _divergences

MODES = st.sampled_from(["symmetric", "asymmetric"])
WIDTHS = st.integers(2, 8)
DISTRIBUTIONS = ["laplace", "gauss", "best"]
VARIANTS: dict[str, RangeInitializer] = {
    "mae": MaeRange(MaeRange.Parameters()),
    "lp 0.7": LpRange(LpRange.Parameters(exponent=0.7)),
    "lp 4": LpRange(LpRange.Parameters(exponent=4.0)),
    **{f"aciq {name}": AciqRange(AciqRange.Parameters(distribution=name)) for name in DISTRIBUTIONS},  # type: ignore[arg-type]
    "kl": KlRange(KlRange.Parameters()),
    "kl few bins": KlRange(KlRange.Parameters(bins=5, candidates=1)),
}
SEARCHES = ["mae", "lp 0.7", "lp 4"]
variants = pytest.mark.parametrize("rule", VARIANTS.values(), ids=VARIANTS)


@st.composite
def weight_arrays(draw: st.DrawFn) -> torch.Tensor:
    """Few weights and more than the fewest that `kl` takes."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 9, 31, 32, 50])))
    return torch.from_numpy(draw(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))))


def make_task(weights: torch.Tensor, bits: int, mode: QuantizationMode, per_channel: bool = True) -> RangeTask:
    groups, _, columns = weights.shape
    statistics = LayerStatistics(torch.zeros(groups, columns), None, torch.ones(groups, columns))

    def error(grid: Grid) -> torch.Tensor:
        return (grid.quantize(weights) - weights).square().sum(dim=-1)

    return RangeTask(weights, bits, mode, per_channel, statistics, error)


def norm(task: RangeTask, rule: RangeInitializer, exponent: float) -> torch.Tensor:
    """Sum of |error|^exponent of what shares a range."""
    difference = (rule.find_range(task).grid.quantize(task.weights) - task.weights).double().abs() ** exponent
    return difference.sum(dim=2) if task.per_channel else difference.sum()


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def laplacian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).laplace(size=shape).astype(np.float32))


@variants
@given(weights=weight_arrays(), bits=WIDTHS, per_channel=st.booleans())
def test_no_threshold_is_beyond_the_largest_weight(
    rule: RangeInitializer, weights: torch.Tensor, bits: int, per_channel: bool
) -> None:
    grid = rule.find_range(make_task(weights, bits, "symmetric", per_channel)).grid
    largest = weights.abs().amax(dim=2) if per_channel else weights.abs().amax()
    # Where all weights are zero the scale is tiny rather than zero.
    assert bool((grid.range_high <= largest * (1 + 1e-5) + 1e-9).all())
    assert bool((grid.scale > 0).all())


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in SEARCHES])
@given(weights=weight_arrays(), bits=WIDTHS, per_channel=st.booleans())
def test_asymmetric_ranges_end_at_most_half_a_step_beyond_the_extremes(
    name: str, weights: torch.Tensor, bits: int, per_channel: bool
) -> None:
    # The searches also move the zero point by one or two steps, on purpose.
    grid = VARIANTS[name].find_range(make_task(weights, bits, "asymmetric", per_channel)).grid
    low, high = weights.amin(dim=2).clamp_max(0), weights.amax(dim=2).clamp_min(0)
    if not per_channel:
        low, high = low.amin(), high.amax()
    if bits == 8:
        low, high = torch.minimum(low, -high), torch.maximum(-low, high)
    # Where all weights are zero the scale is tiny rather than zero.
    half_a_step = 0.501 * grid.scale + 1e-9
    assert bool((grid.range_low >= low - half_a_step).all())
    assert bool((grid.range_high <= high + half_a_step).all())


@given(weights=weight_arrays(), bits=WIDTHS, mode=MODES, per_channel=st.booleans())
def test_norm_searches_have_no_larger_norm_than_max(
    weights: torch.Tensor, bits: int, mode: QuantizationMode, per_channel: bool
) -> None:
    task = make_task(weights, bits, mode, per_channel)
    for name, exponent in (("mae", 1.0), ("lp 0.7", 0.7), ("lp 4", 4.0)):
        error, reference = (norm(task, rule, exponent) for rule in (VARIANTS[name], MaxRange(MaxRange.Parameters())))
        assert bool((error <= reference * (1 + 1e-3) + 1e-7).all()), (name, error, reference)


def test_each_norm_search_is_the_best_in_its_own_norm_and_the_small_exponents_clip_more() -> None:
    task = make_task(laplacian(1, 16, 400), 3, "symmetric")
    rules = {0.7: VARIANTS["lp 0.7"], 1.0: VARIANTS["mae"], 4.0: VARIANTS["lp 4"]}
    for exponent in rules:
        totals = {name: norm(task, rule, exponent).sum().item() for name, rule in rules.items()}
        assert min(totals, key=totals.__getitem__) == exponent
    thresholds = [rule.find_range(task).grid.range_high.mean().item() for rule in rules.values()]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < 0.8 * thresholds[-1]


def test_lp_with_exponents_1_and_2_is_mae_and_mse() -> None:
    for per_channel in (True, False):
        task = make_task(gaussian(2, 3, 60), 3, "asymmetric", per_channel)
        for exponent, rule in ((1.0, VARIANTS["mae"]), (2.0, MseRange(MseRange.Parameters()))):
            found = LpRange(LpRange.Parameters(exponent=exponent)).find_range(task).grid
            torch.testing.assert_close(found.scale, rule.find_range(task).grid.scale)
            torch.testing.assert_close(found.zero_point, rule.find_range(task).grid.zero_point)


@pytest.mark.parametrize(
    ("distribution", "published"),
    [("laplace", {2: 2.83, 3: 3.89, 4: 5.03}), ("gauss", {2: 1.71, 3: 2.15, 4: 2.55})],
)
def test_optimal_thresholds_are_the_published_ones(distribution: Any, published: dict[int, float]) -> None:
    for bits, expected in published.items():
        assert optimal_threshold(distribution, bits) == pytest.approx(expected, abs=0.011)


def test_aciq_clips_at_the_published_multiple_of_the_spread() -> None:
    for distribution, weights, spread in (
        ("laplace", laplacian(2, 3, 4000), lambda w: w.abs().mean(dim=2)),
        ("gauss", gaussian(2, 3, 4000), lambda w: w.square().mean(dim=2).sqrt()),
    ):
        multiple = {"laplace": 3.89, "gauss": 2.15}[distribution]
        grid = VARIANTS[f"aciq {distribution}"].find_range(make_task(weights, 3, "symmetric")).grid
        torch.testing.assert_close(grid.range_high, multiple * spread(weights), rtol=4e-3, atol=0)
        best = VARIANTS["aciq best"].find_range(make_task(weights, 3, "symmetric")).grid
        torch.testing.assert_close(best.scale, grid.scale, rtol=0, atol=0)


def test_aciq_chooses_the_distribution_row_by_row() -> None:
    weights = torch.cat([laplacian(1, 1, 2000), gaussian(1, 1, 2000)], dim=1)
    task = make_task(weights, 4, "symmetric")
    best, laplace, gauss = (VARIANTS[f"aciq {name}"].find_range(task).grid for name in ("best", "laplace", "gauss"))
    assert best.scale[0, 0] == laplace.scale[0, 0] != gauss.scale[0, 0]
    assert best.scale[0, 1] == gauss.scale[0, 1] != laplace.scale[0, 1]


def brute_force_divergence(histogram: np.ndarray, kept: int, levels: int) -> float:
    """As on Migacz's slides, bin by bin."""
    reference = histogram[:kept].astype(float)
    reference[-1] += histogram[kept:].sum()
    candidate = np.zeros(kept)
    level_of = np.arange(kept) * levels // kept
    for level in range(levels):
        members = level_of == level
        filled = members & (reference > 0)
        if filled.any():
            candidate[filled] = histogram[:kept][members].sum() / filled.sum()
    if candidate[reference > 0].min() == 0:
        return np.inf
    reference, candidate = reference / reference.sum(), candidate / candidate.sum()
    positive = reference > 0
    return float((reference[positive] * np.log(reference[positive] / candidate[positive])).sum())


@given(
    histogram=arrays.arrays(np.int64, (3, 24), elements=st.integers(0, 5)).filter(
        lambda found: found.any(axis=1).all()
    ),
    bits=st.integers(2, 4),
)
def test_divergences_are_those_of_the_slides(histogram: np.ndarray, bits: int) -> None:
    histogram[:, -1] += 1
    levels = 2 ** (bits - 1)
    kept = torch.arange(24, levels - 1, -1)
    found = _divergences(torch.from_numpy(histogram)[None].double(), kept, levels)
    expected = [[[brute_force_divergence(row, int(part), levels) for row in histogram]] for part in kept]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert bool(torch.isfinite(found[0]).all())


def test_kl_clips_where_one_weight_sticks_out_and_not_where_none_does() -> None:
    weights = gaussian(1, 2, 2000)
    weights[0, 0, 3] = 10.0
    weights[0, 1] = torch.linspace(-1, 1, 2000)
    for bits in (3, 4):
        high = VARIANTS["kl"].find_range(make_task(weights, bits, "symmetric")).grid.range_high
        assert 1.5 < high[0, 0] < 6.0
        assert high[0, 1] > 0.95


def test_kl_does_not_clip_rows_of_few_weights() -> None:
    for columns, clips in ((FEWEST_WEIGHTS - 1, False), (20 * FEWEST_WEIGHTS, True)):
        task = make_task(gaussian(1, 8, columns) ** 3, 3, "symmetric")
        found = VARIANTS["kl"].find_range(task).grid.scale
        largest = MaxRange(MaxRange.Parameters()).find_range(task).grid.scale
        assert torch.equal(found, largest) != clips
    # The tensor as a whole has enough.
    depthwise = make_task(gaussian(100, 1, 9) ** 3, 3, "symmetric", per_channel=False)
    assert (
        VARIANTS["kl"].find_range(depthwise).grid.scale[0, 0]
        < MaxRange(MaxRange.Parameters()).find_range(depthwise).grid.scale[0, 0]
    )


@variants
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_per_tensor_means_one_scale_and_one_zero_point(
    rule: RangeInitializer, mode: QuantizationMode, bits: int
) -> None:
    weights = gaussian(3, 4, 15) * torch.arange(1.0, 5)[:, None]
    grid = rule.find_range(make_task(weights, bits, mode, per_channel=False)).grid
    assert grid.scale.shape == grid.zero_point.shape == (3, 4)
    assert grid.scale.unique().numel() == grid.zero_point.unique().numel() == 1
    per_channel = rule.find_range(make_task(weights, bits, mode)).grid
    assert per_channel.scale.unique().numel() > 1


def outlier(columns: int) -> torch.Tensor:
    weights = gaussian(1, 2, columns, seed=3) * 1e-3
    weights[0, 0, 7] = 1e6
    return weights


EDGE_CASES = {
    "all zero": torch.zeros(2, 3, 40),
    "one zero channel": torch.cat([torch.zeros(1, 1, 40), gaussian(1, 1, 40)], dim=1),
    "one huge outlier": outlier(50),
    "one huge outlier of many": outlier(3000),
    "one weight": torch.tensor([[[0.7]]]),
    "one negative weight": torch.tensor([[[-0.7]]]),
    "constant": torch.full((1, 2, 40), -0.3),
    "tiny": torch.full((1, 1, 40), 1e-38),
    "huge": gaussian(1, 2, 40) * 1e30,
    "depthwise": gaussian(6, 1, 9),
}


@pytest.mark.parametrize("weights", EDGE_CASES.values(), ids=EDGE_CASES)
@variants
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_degenerate_weights_get_finite_grids(weights: torch.Tensor, rule: RangeInitializer, mode: Any) -> None:
    for bits in (2, 3, 4, 8):
        for per_channel in (True, False):
            grid = rule.find_range(make_task(weights, bits, mode, per_channel)).grid
            assert bool((grid.scale > 0).all())
            for values in (grid.scale, grid.zero_point, grid.range_low, grid.range_high, grid.quantize(weights)):
                assert bool(torch.isfinite(values).all())
            assert not grid.quantize(torch.zeros_like(weights)).any()


@pytest.mark.parametrize("value", [0.3, -0.3])
@variants
def test_constant_weights_are_exact(rule: RangeInitializer, value: float) -> None:
    weights = torch.full((1, 2, 40), value)
    for bits in (2, 5, 8):
        for mode in ("symmetric", "asymmetric"):
            grid = rule.find_range(make_task(weights, bits, mode)).grid
            torch.testing.assert_close(grid.quantize(weights), weights)


@variants
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_a_rule_scales_with_the_weights(rule: RangeInitializer, mode: QuantizationMode) -> None:
    weights = laplacian(2, 3, 100)
    found = [rule.find_range(make_task(factor * weights, 4, mode)).grid.scale for factor in (1.0, 1024.0)]
    torch.testing.assert_close(found[1], 1024 * found[0])


def create_from_json(section: Any) -> RangeInitializer:
    found = load_config({"compression": {"initializer": {"range": section}}}).compression.initializer.range
    assert not isinstance(found, list)
    return RANGE_INITIALIZERS.create(found)


def test_the_rules_are_named_in_the_json() -> None:
    rule = create_from_json({"type": "aciq", "distribution": "gauss"})
    assert isinstance(rule, AciqRange)
    assert rule.parameters == AciqRange.Parameters(distribution="gauss")
    for name, kind in (("mae", MaeRange), ("lp", LpRange), ("aciq", AciqRange), ("kl", KlRange)):
        assert type(create_from_json(name)) is kind
    for wrong in ({"type": "aciq", "distribution": "cauchy"}, {"type": "lp", "exponent": 0.0}, {"type": "kl", "p": 1}):
        with pytest.raises(ConfigError, match=r"compression\.initializer\.range"):
            create_from_json(wrong)


def test_the_rules_can_be_mixed() -> None:
    rules = ["max", "mae", {"type": "lp", "exponent": 3.0}, {"type": "aciq", "distribution": "laplace"}, "kl"]
    mixed = create_from_json({"type": "mixed_clipping", "rules": rules})
    assert isinstance(mixed, MixedClippingRange)
    heavy = laplacian(1, 4, 500)
    weights = torch.cat([heavy, torch.linspace(-1, 1, 500).expand(1, 2, -1), gaussian(1, 4, 500)], dim=1)
    task = make_task(weights, 3, "asymmetric")
    choice = mixed.find_range(task)
    assert choice.rules == ("max", "mae", "lp", "aciq", "kl")
    assert choice.errors is not None
    for index, rule in enumerate(mixed.rules(per_channel=True)):
        grid = rule.find_range(task).grid
        expected = task.output_error(Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high))[0]
        torch.testing.assert_close(choice.errors[index], expected)
    assert torch.equal(choice.errors.gather(0, choice.rule[None])[0], choice.errors.amin(dim=0))
    assert choice.rule.unique().numel() > 1
