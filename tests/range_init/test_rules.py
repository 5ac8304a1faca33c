from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.range_init import (
    MaxRange,
    MixedClippingRange,
    MseRange,
    OutputMseRange,
    PercentileRange,
    RangeChoice,
    RangeInitializer,
    RangeTask,
)
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.range_init.grid import Grid, QuantizationMode
from nncf_mcq.weights.moments import output_error
from tests.models import correlated_data, moments_of

MODES = st.sampled_from(["symmetric", "asymmetric"])
WIDTHS = st.integers(2, 8)
RULES: list[type[RangeInitializer]] = [MaxRange, PercentileRange, MseRange, OutputMseRange]


@st.composite
def weight_arrays(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8)))
    return torch.from_numpy(draw(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))))


def make_task(weights: torch.Tensor, bits: int, mode: QuantizationMode, per_channel: bool = True) -> RangeTask:
    groups, _, columns = weights.shape
    statistics = moments_of(correlated_data(groups, columns, seed=columns, positions=50))

    def error(grid: Grid) -> torch.Tensor:
        return output_error(weights, grid.quantize(weights.expand(*grid.scale.shape, columns)), statistics)

    return RangeTask(weights, bits, mode, per_channel, statistics, error)


def create(rule: type[RangeInitializer], **parameters: Any) -> RangeInitializer:
    return rule(rule.Parameters(**parameters))


def squared_error(task: RangeTask, choice: RangeChoice) -> torch.Tensor:
    return (choice.grid.quantize(task.weights) - task.weights).double().square().sum(dim=2)


def assert_not_larger(error: torch.Tensor, reference: torch.Tensor) -> None:
    assert bool((error <= reference * (1 + 1e-4) + 1e-9).all()), (error, reference)


@given(weight_arrays(), WIDTHS, MODES, st.booleans())
def test_max_never_clips_more_than_half_a_step(
    weights: torch.Tensor, bits: int, mode: QuantizationMode, per_channel: bool
) -> None:
    grid = create(MaxRange).find_range(make_task(weights, bits, mode, per_channel)).grid
    assert bool(((grid.quantize(weights) - weights).abs() <= 0.5001 * grid.scale[..., None]).all())


@given(weight_arrays(), WIDTHS, MODES)
def test_mse_has_no_larger_squared_error_than_max(weights: torch.Tensor, bits: int, mode: QuantizationMode) -> None:
    task = make_task(weights, bits, mode)
    errors = [squared_error(task, create(rule).find_range(task)) for rule in (MseRange, MaxRange)]
    assert_not_larger(*errors)


@given(weight_arrays(), WIDTHS, MODES)
def test_mse_of_a_whole_layer_has_no_larger_squared_error_than_max(
    weights: torch.Tensor, bits: int, mode: QuantizationMode
) -> None:
    task = make_task(weights, bits, mode, per_channel=False)
    errors = [squared_error(task, create(rule).find_range(task)).sum() for rule in (MseRange, MaxRange)]
    assert_not_larger(*errors)


@given(weight_arrays(), WIDTHS, MODES)
def test_output_mse_has_no_larger_weighted_error_than_max(
    weights: torch.Tensor, bits: int, mode: QuantizationMode
) -> None:
    task = make_task(weights, bits, mode)
    errors = []
    for rule in (OutputMseRange, MaxRange):
        difference = create(rule).find_range(task).grid.quantize(weights) - weights
        errors.append((difference.square() * task.statistics.variance[:, None]).sum(dim=2))
    assert_not_larger(*errors)


def test_the_searches_win_clearly_where_one_weight_sticks_out() -> None:
    weights = torch.randn(1, 1, 256, generator=torch.Generator().manual_seed(0))
    weights[0, 0, 3] = 8.0
    task = make_task(weights, 3, "symmetric")
    largest = squared_error(task, create(MaxRange).find_range(task))
    for rule in (MseRange, OutputMseRange, PercentileRange):
        choice = create(rule, **({"percentile": 99.0} if rule is PercentileRange else {})).find_range(task)
        assert choice.grid.range_high.item() < 0.8 * 8.0
    assert squared_error(task, create(MseRange).find_range(task)).item() < 0.7 * largest.item()


def test_output_mse_cares_for_a_weight_as_much_as_its_input_varies() -> None:
    weights = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(0))
    weights[0, 0, 3] = 8.0
    task = make_task(weights, 3, "symmetric")
    thresholds = []
    for variance_of_the_outlier in (0.0, 1000.0):
        variance = torch.ones(1, 64)
        variance[0, 3] = variance_of_the_outlier
        weighted = dataclasses.replace(task, statistics=LayerStatistics(torch.zeros(1, 64), None, variance))
        thresholds.append(create(OutputMseRange).find_range(weighted).grid.range_high.item())
    assert thresholds[0] < 4.0
    assert thresholds[1] > 7.9


@given(weight_arrays(), WIDTHS, st.booleans())
def test_the_100th_percentile_is_max_in_symmetric_mode(weights: torch.Tensor, bits: int, per_channel: bool) -> None:
    task = make_task(weights, bits, "symmetric", per_channel)
    torch.testing.assert_close(
        create(PercentileRange, percentile=100).find_range(task).grid.scale,
        create(MaxRange).find_range(task).grid.scale,
    )


@pytest.mark.parametrize("percentile", [60.0, 90.0, 99.9])
def test_percentiles_are_those_of_numpy(percentile: float) -> None:
    weights = torch.randn(2, 3, 101, generator=torch.Generator().manual_seed(0))
    symmetric = create(PercentileRange, percentile=percentile).find_range(make_task(weights, 4, "symmetric")).grid
    expected = np.percentile(weights.abs().numpy(), percentile, axis=2)
    np.testing.assert_allclose(symmetric.range_high, expected, rtol=1e-5)
    asymmetric = create(PercentileRange, percentile=percentile).find_range(make_task(weights, 4, "asymmetric")).grid
    low, high = np.percentile(weights.numpy(), [50 - percentile / 2, 50 + percentile / 2], axis=2)
    np.testing.assert_allclose(asymmetric.scale, (high - low) / 15, rtol=1e-5)


@given(weight_arrays(), WIDTHS, MODES)
def test_mixed_clipping_leaves_no_channel_a_larger_error_than_any_of_its_rules(
    weights: torch.Tensor, bits: int, mode: QuantizationMode
) -> None:
    task = make_task(weights, bits, mode)
    choice = create(MixedClippingRange).find_range(task)
    mixed = task.output_error(
        Grid(choice.grid.scale[None], choice.grid.zero_point[None], choice.grid.low, choice.grid.high)
    )
    assert choice.rules == ("max", "percentile", "mse", "output_mse")
    assert choice.errors is not None
    for index, rule in enumerate(RULES):
        grid = create(rule).find_range(task).grid
        error = task.output_error(Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high))[0]
        torch.testing.assert_close(choice.errors[index], error)
        assert_not_larger(mixed[0], error)
    assert torch.equal(choice.errors.gather(0, choice.rule[None])[0], choice.errors.amin(dim=0))


@pytest.mark.parametrize("per_channel", [True, False])
def test_mixed_clipping_per_layer_takes_one_rule_of_least_summed_error(per_channel: bool) -> None:
    weights = torch.randn(2, 4, 30, generator=torch.Generator().manual_seed(1)) ** 3
    task = make_task(weights, 3, "asymmetric", per_channel)
    choice = create(MixedClippingRange, choose_per="layer").find_range(task)
    assert choice.errors is not None
    assert choice.rule.unique().tolist() == [int(choice.errors.sum(dim=(1, 2)).argmin())]
    assert choice.dominant_rule == choice.rules[int(choice.rule[0, 0])]


def test_rows_that_share_a_range_count_by_their_relative_error() -> None:
    """Not by their energy: what follows is fitted to each, and a row of small weights would be rounded to nothing."""
    weights = torch.randn(1, 6, 40, generator=torch.Generator().manual_seed(1))
    weights[0, 0] *= 12
    task = make_task(weights, 4, "asymmetric", per_channel=False)
    zero = Grid(torch.full((1, 1, 6), 1e-9), torch.full((1, 1, 6), 8.0), 0, 15)
    task = dataclasses.replace(task, output_variance=task.output_error(zero)[0])

    choice = create(MixedClippingRange).find_range(task)

    assert choice.rules == ("max", "percentile", "mse", "output_mse", "kl", "aciq")
    assert choice.errors is not None and task.output_variance is not None
    relative = (choice.errors / task.output_variance).sum(dim=(1, 2))
    assert choice.rule.unique().tolist() == [int(relative.argmin())]
    assert int(relative.argmin()) != int(choice.errors.sum(dim=(1, 2)).argmin())


@pytest.mark.parametrize("rule", [*RULES, MixedClippingRange])
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_per_tensor_means_one_scale_and_one_zero_point(
    rule: type[RangeInitializer], mode: QuantizationMode, bits: int
) -> None:
    weights = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2)) * torch.arange(1.0, 5)[:, None]
    grid = create(rule).find_range(make_task(weights, bits, mode, per_channel=False)).grid
    assert grid.scale.shape == (3, 4)
    assert grid.scale.unique().numel() == 1
    assert grid.zero_point.unique().numel() == 1


def outlier() -> torch.Tensor:
    weights = torch.randn(1, 2, 50, generator=torch.Generator().manual_seed(3)) * 1e-3
    weights[0, 0, 7] = 1e6
    return weights


EDGE_CASES = {
    "all zero": torch.zeros(2, 3, 4),
    "one zero channel": torch.tensor([[[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]]]),
    "one huge outlier": outlier(),
    "one weight": torch.tensor([[[0.7]]]),
    "one negative weight": torch.tensor([[[-0.7]]]),
    "constant": torch.full((1, 2, 6), -0.3),
    "tiny": torch.full((1, 1, 6), 1e-38),
}


@pytest.mark.parametrize("weights", EDGE_CASES.values(), ids=EDGE_CASES)
@pytest.mark.parametrize("rule", [*RULES, MixedClippingRange])
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_degenerate_weights_get_finite_grids(weights: torch.Tensor, rule: type[RangeInitializer], mode: Any) -> None:
    for bits in (2, 3, 4, 8):
        for per_channel in (True, False):
            grid = create(rule).find_range(make_task(weights, bits, mode, per_channel)).grid
            assert bool((grid.scale > 0).all())
            for values in (grid.scale, grid.zero_point, grid.range_low, grid.range_high, grid.quantize(weights)):
                assert bool(torch.isfinite(values).all())
            assert not grid.quantize(torch.zeros_like(weights)).any()


@pytest.mark.parametrize("value", [0.3, -0.3])
@pytest.mark.parametrize("bits", [2, 5])
def test_constant_weights_are_exact(value: float, bits: int) -> None:
    weights = torch.full((1, 2, 6), value)
    for rule in RULES:
        for mode in ("symmetric", "asymmetric"):
            grid = create(rule).find_range(make_task(weights, bits, mode)).grid
            torch.testing.assert_close(grid.quantize(weights), weights)


def test_the_registered_names_are_those_of_the_classes() -> None:
    rules: list[type[RangeInitializer]] = [*RULES, MixedClippingRange]
    for rule in rules:
        assert RANGE_INITIALIZERS[rule.Parameters.model_fields["type"].default] is rule


def test_rules_of_one_type_are_told_apart() -> None:
    rules = [{"type": "percentile", "percentile": 99.0}, {"type": "percentile", "percentile": 90.0}, "max"]
    parameters = RANGE_INITIALIZERS["mixed_clipping"].Parameters.model_validate({"rules": rules})
    choice = RANGE_INITIALIZERS.create(parameters).find_range(make_task(torch.randn(1, 4, 50), 4, "symmetric"))
    assert choice.rules == ("percentile_1", "percentile_2", "max")
