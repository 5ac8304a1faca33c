from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from nncf_mcq import ACTIVATION_RANGE_INITIALIZERS, QuantizationError, load_config
from nncf_mcq.calibration.statistics import ActivationStatistics
from nncf_mcq.model.algorithm import ActivationPoint, ValueRange
from nncf_mcq.policy import Policy
from nncf_mcq.range_init.activation import (
    ActivationRangeInitializer,
    ActivationRangeTask,
    AutomaticActivationRange,
    MaxActivationRange,
    MeanMaxActivationRange,
    MovingMaxActivationRange,
    MseActivationRange,
    PercentileActivationRange,
    activation_ranges,
    relative_error,
)
from nncf_mcq.range_init.activation.base import asymmetric_grid
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import small_calibrated_model

NAMES = ["max", "mean_max", "moving_max", "percentile", "mse", "automatic"]
every_rule = pytest.mark.parametrize("name", NAMES)


def create(section: Any) -> ActivationRangeInitializer:
    config = load_config({"compression": {"activations": {"range": section}}})
    created: ActivationRangeInitializer = ACTIVATION_RANGE_INITIALIZERS.create(config.compression.activations.range)
    return created


def seen(samples: torch.Tensor) -> ActivationStatistics:
    """(images, channels, values) -> what is seen of them."""
    return ActivationStatistics(samples.amin(dim=2), samples.amax(dim=2), samples.transpose(0, 1).flatten(1), 4)


def find(
    section: Any,
    samples: torch.Tensor,
    bits: int = 8,
    per_channel: bool = False,
    asymmetric: bool = False,
) -> ValueRange:
    point = ActivationPoint("point", (), per_channel)
    names = ("point",) if asymmetric else ()
    return activation_ranges([point], [], {"point": seen(samples)}, {"point": bits}, create(section), names)["point"]


def images_of(*largest: float, sign: float = 1.0) -> torch.Tensor:
    """(images, 1, 2): images with a zero and one value of this magnitude."""
    return torch.tensor([[[0.0, sign * value]] for value in largest])


def normal(images: int, channels: int, values: int = 500, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, channels, values, generator=torch.Generator().manual_seed(seed))


def heavy_tailed(seed: int, signed: bool) -> torch.Tensor:
    """(4, 3, 2000) values of a Student distribution, from few to many outliers by channel."""
    generator = np.random.default_rng(seed)
    values = np.stack([generator.standard_t(degrees, size=(4, 2000)) for degrees in (2, 3, 6)], axis=1)
    return torch.from_numpy((values if signed else np.abs(values)).astype(np.float32))


def test_the_rules_are_named_in_the_json() -> None:
    kinds = (
        MaxActivationRange,
        MeanMaxActivationRange,
        MovingMaxActivationRange,
        PercentileActivationRange,
        MseActivationRange,
        AutomaticActivationRange,
    )
    assert [type(create(name)) for name in NAMES] == list(kinds)
    assert sorted(NAMES) == list(ACTIVATION_RANGE_INITIALIZERS)
    assert load_config({}).compression.activations.range == AutomaticActivationRange.Parameters()
    assert [rule.type for rule in AutomaticActivationRange.Parameters().candidates] == ["mse", "max", "mean_max"]
    assert create("mse").parameters == MseActivationRange.Parameters(candidates=64, smallest_ratio=0.1)
    assert create("moving_max").parameters == MovingMaxActivationRange.Parameters(momentum=0.9)
    assert create("percentile").parameters == PercentileActivationRange.Parameters(percentile=99.99)


@every_rule
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [True, False])
def test_the_range_is_signed_only_where_a_value_is_negative(
    name: str, per_channel: bool, bits: int, signed: bool
) -> None:
    samples = normal(5, 3 if per_channel else 1).abs()
    if signed:
        # One negative value in one channel: the sign is that of the whole tensor.
        samples[2, -1, 7] *= -1
    found = find(name, samples, bits, per_channel)
    assert found.low.shape == found.high.shape == ((1, 3, 1, 1) if per_channel else ())
    assert found.low.dtype == found.high.dtype == np.float32
    np.testing.assert_array_equal(found.low, -found.high if signed else np.zeros_like(found.high))
    assert (found.high > 0).all()
    assert (found.high <= samples.abs().amax(dim=(0, 2)).reshape(found.high.shape).numpy()).all()


@every_rule
def test_values_that_are_all_negative_are_measured_by_their_magnitude(name: str) -> None:
    samples = normal(5, 1).abs()
    found = find(name, -samples)
    np.testing.assert_array_equal(found.low, -found.high)
    assert found.high >= 0.5 * samples.amax().numpy()


@every_rule
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.7, -0.7, 1e-30, 1e30])
def test_constant_activations_have_a_finite_range_that_is_not_empty(name: str, per_channel: bool, value: float) -> None:
    found = find(name, torch.full((3, 2 if per_channel else 1, 8), value), 4, per_channel)
    assert np.isfinite(found.low).all()
    assert np.isfinite(found.high).all()
    assert (found.low < found.high).all()
    if abs(value) in (0.7, 1e30):
        # A constant can be a level, whatever the rule: at least the level next to the end of the range is as large.
        assert (found.high >= 0.05 * abs(value)).all()
    if name != "mse":
        np.testing.assert_allclose(found.high, max(abs(value), 1e-6), rtol=1e-6)


@every_rule
def test_one_image_is_enough(name: str) -> None:
    assert 0 < find(name, normal(1, 1)).high <= normal(1, 1).abs().max().numpy()


def test_max_takes_the_largest_magnitude_of_all_images() -> None:
    assert find("max", images_of(1, 5, 2)).high == 5
    assert find("max", images_of(1, 5, 2, sign=-1)).high == 5


def test_mean_max_is_the_mean_over_images_but_per_channel_the_maximum() -> None:
    assert find("mean_max", images_of(1, 5, 3)).high == 3
    channels = torch.cat([images_of(1, 5, 3), images_of(2, 4, 9)], dim=1)
    assert find("mean_max", channels, per_channel=True).high.flatten().tolist() == [5, 9]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_moving_max_averages_in_the_order_of_the_images(momentum: float) -> None:
    first, second, third = 1.0, 5.0, 3.0
    expected = momentum * (momentum * first + (1 - momentum) * second) + (1 - momentum) * third
    rule = {"type": "moving_max", "momentum": momentum}
    assert find(rule, images_of(first, second, third)).high == pytest.approx(expected)
    assert find(rule, images_of(third, second, first)).high != pytest.approx(expected)
    channels = torch.cat([images_of(first, second, third), images_of(2, 2, 2)], dim=1)
    assert find(rule, channels, per_channel=True).high.flatten().tolist() == pytest.approx([expected, 2])


@pytest.mark.parametrize("percentile", [60.0, 99.0, 99.99, 100.0])
def test_percentile_is_that_of_the_absolute_samples(percentile: float) -> None:
    samples = normal(4, 3)
    found = find({"type": "percentile", "percentile": percentile}, samples, per_channel=True).high
    expected = np.percentile(samples.abs().transpose(0, 1).flatten(1).numpy(), percentile, axis=1)
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-5)


def test_percentile_does_not_clip_everything_of_a_channel_that_hardly_ever_fires() -> None:
    assert find({"type": "percentile", "percentile": 90.0}, images_of(*[0.0] * 30, 4.0)).high == 4


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("candidates", "smallest_ratio"), [(64, 0.1), (7, 0.4)])
def test_mse_leaves_the_least_squared_error_of_its_candidates(
    bits: int, signed: bool, candidates: int, smallest_ratio: float
) -> None:
    samples = heavy_tailed(0, signed)
    rule = {"type": "mse", "candidates": candidates, "smallest_ratio": smallest_ratio}
    found = find(rule, samples, bits, per_channel=True).high.flatten()
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    for channel, threshold in enumerate(found):
        values = samples[:, channel].flatten().double().numpy()
        tried = np.abs(values).max() * np.linspace(smallest_ratio, 1, candidates)
        steps = tried[:, None] / highest
        errors = np.square(np.clip(np.round(values / steps), lowest, highest) * steps - values).sum(axis=1)
        nearest = np.abs(tried - threshold).argmin()
        assert tried[nearest] == pytest.approx(threshold, rel=1e-5)
        assert errors[nearest] <= errors.min() * (1 + 1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("signed", [True, False])
def test_mse_clips_more_at_fewer_bits(seed: int, signed: bool) -> None:
    samples = heavy_tailed(seed, signed)
    thresholds = [find("mse", samples, bits, per_channel=True).high.flatten() for bits in (2, 4, 8)]
    step = samples.abs().amax(dim=(0, 2)).numpy() * 0.9 / 63
    for fewer, more in pairwise(thresholds):
        assert (fewer <= more + step * 1.001).all()
    assert (thresholds[1] < thresholds[2]).any()


@pytest.mark.parametrize("name", ["max", "mean_max", "moving_max", "percentile"])
def test_the_other_rules_do_not_depend_on_the_bits(name: str) -> None:
    assert find(name, normal(4, 1), 2).high == find(name, normal(4, 1), 8).high


def leaky(seed: int, channels: int = 1) -> torch.Tensor:
    return torch.nn.functional.leaky_relu(normal(4, channels, seed=seed), 0.1)


@every_rule
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_an_asymmetric_range_wastes_no_levels_on_values_that_do_not_occur(
    name: str, per_channel: bool, bits: int
) -> None:
    samples = leaky(bits, 3 if per_channel else 1)
    found = find(name, samples, bits, per_channel, asymmetric=True)
    assert found.low.shape == found.high.shape == ((1, 3, 1, 1) if per_channel else ())
    step = (found.high - found.low) / (2**bits - 1)
    np.testing.assert_allclose(found.low / step, np.rint(found.low / step), atol=1e-4)
    errors = [
        relative_error(seen(samples), found, bits),
        relative_error(seen(samples), find(name, samples, bits, per_channel), bits),
    ]
    # Without clipping nearly a whole bit, which would be a quarter.
    assert errors[0] < 0.8 * errors[1]


@every_rule
def test_values_of_one_sign_are_as_in_symmetric_mode(name: str) -> None:
    found, expected = (find(name, leaky(0).abs(), 4, asymmetric=mode) for mode in (True, False))
    assert (found.low, found.high) == (expected.low, expected.high)


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_mse_finds_both_ends_of_an_asymmetric_range(bits: int) -> None:
    samples = heavy_tailed(bits, signed=True)[:, :1]
    values = samples.flatten()
    found = relative_error(seen(samples), find("mse", samples, bits, asymmetric=True), bits)
    lows, highs = (torch.linspace(0.1, 1, 24) * end for end in (values.min(), values.max()))
    grids = [asymmetric_grid(low, high, bits) for low in lows[:, None] for high in highs[:, None]]
    tried = [
        relative_error(seen(samples), ValueRange(grid.range_low.numpy(), grid.range_high.numpy()), bits)
        for grid in grids
    ]
    # It looks for one end at a time, among more candidates.
    assert found <= min(tried) * 1.05


def unified(section: Any, per_channel: bool = False, **samples: torch.Tensor) -> dict[str, ValueRange]:
    """The ranges of points that share one."""
    points = [ActivationPoint(name, (), per_channel) for name in samples]
    statistics = {name: seen(values) for name, values in samples.items()}
    return activation_ranges(points, [tuple(samples)], statistics, dict.fromkeys(samples, 4), create(section))


@every_rule
@pytest.mark.parametrize("per_channel", [True, False])
def test_points_that_share_a_scale_get_the_range_of_their_pooled_values(name: str, per_channel: bool) -> None:
    channels = 2 if per_channel else 1
    small, large = normal(4, channels).abs(), normal(4, channels, seed=1) * 9
    found = unified(name, per_channel, small=small, large=large)
    both = find(name, torch.cat([small, large], dim=2), 4, per_channel)
    for point in ("small", "large"):
        # Alone, the small activation would be unsigned.
        np.testing.assert_array_equal(found[point].low, -found[point].high)
        np.testing.assert_allclose(found[point].high, both.high, rtol=1e-6)
    zero = unified(name, per_channel, left=torch.zeros(3, channels, 8), right=torch.zeros(3, channels, 8))
    assert all(np.isfinite(item.high).all() and (item.high > item.low).all() for item in zero.values())


def test_pooling_keeps_the_order_of_the_images() -> None:
    rule = {"type": "moving_max", "momentum": 0.5}
    found = unified(rule, left=images_of(1, 8, 2), right=images_of(4, 2, 3, sign=-1))
    # The larger of both points, image by image: 4, 8, 3.
    assert found["left"].high == found["right"].high == 0.5 * (0.5 * 4 + 0.5 * 8) + 0.5 * 3
    assert unified("mean_max", left=images_of(1, 8, 2), right=images_of(4, 2, 3))["left"].high == 5


def test_a_point_outside_the_group_keeps_its_own_range() -> None:
    points = [ActivationPoint(name, (), False) for name in ("a", "b", "other")]
    statistics = {"a": seen(images_of(1, sign=-1)), "b": seen(images_of(3)), "other": seen(images_of(2))}
    found = activation_ranges(points, [("a", "b")], statistics, dict.fromkeys(statistics, 8), create("max"))
    assert [(float(item.low), float(item.high)) for item in found.values()] == [(-3, 3), (-3, 3), (0, 2)]


@pytest.mark.parametrize("wrong", [torch.ones(3), torch.tensor(1.0), torch.tensor([torch.nan])])
def test_thresholds_of_another_shape_or_not_finite_are_an_error(wrong: torch.Tensor) -> None:
    class Wrong(MaxActivationRange):
        def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
            return wrong

    point = ActivationPoint("point", (), False)
    with pytest.raises(QuantizationError, match="point: the activation range initializer 'max' must return 1 finite"):
        activation_ranges(
            [point], [], {"point": seen(normal(2, 1))}, {"point": 8}, Wrong(MaxActivationRange.Parameters())
        )


def test_ranges_are_searched_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own threads wait for each other after every operation: minutes where another program has the core."""
    seen = []

    def record(*arguments: Any) -> dict[str, ValueRange]:
        seen.append(torch.get_num_threads())
        return activation_ranges(*arguments)

    monkeypatch.setattr("nncf_mcq.pipeline.activation_templates.activation_ranges", record)
    known, table = small_calibrated_model()
    # Another one, which has no ranges yet.
    calibrated = known.observe(known.calibration, Stages(SilentProgress()), "")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        calibrated.build(
            Policy({layer.name: 4 for layer in calibrated.quantizable.layers}, calibrated.activation_bits), table
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
