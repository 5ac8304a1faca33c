from __future__ import annotations

import pytest
import torch

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.range_init.grid import grid_from_range
from nncf_mcq.weights.moments import (
    OutputMoments,
    apply_covariance,
    bias_shift,
    energy_gain,
    output_error,
    output_variance,
    regression_gain,
)
from tests.models import correlated_data, moments_of

GROUPS, ROWS, COLUMNS = 2, 3, 12
DATA = correlated_data(GROUPS, COLUMNS, seed=0)
STATISTICS = moments_of(DATA)
WEIGHTS = torch.randn(GROUPS, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))


def quantized(bits: int = 3) -> torch.Tensor:
    return grid_from_range(WEIGHTS.amin(2) * 0.7, WEIGHTS.amax(2) * 0.7, bits, "asymmetric").quantize(WEIGHTS)


def outputs(weights: torch.Tensor) -> torch.Tensor:
    """(..., groups, rows, positions) what a layer computes from the data."""
    return weights.double() @ DATA.double().transpose(1, 2)


def only_variance(statistics: LayerStatistics) -> LayerStatistics:
    return LayerStatistics(statistics.mean, None, statistics.variance)


def test_the_bias_shift_keeps_the_mean_of_the_output() -> None:
    shift = bias_shift(WEIGHTS, quantized(), STATISTICS)
    before, after = outputs(WEIGHTS).mean(dim=2), outputs(quantized()).mean(dim=2)
    assert (before - after).abs().max() > 1e-2
    torch.testing.assert_close(after + shift, before, atol=1e-4, rtol=1e-4)


def test_the_output_error_is_the_variance_of_the_difference() -> None:
    difference = outputs(quantized() - WEIGHTS)
    error = output_error(WEIGHTS, quantized()[None], STATISTICS)
    torch.testing.assert_close(error[0].double(), difference.var(dim=2, correction=0), rtol=1e-4, atol=1e-6)


def test_the_output_error_without_covariance_is_that_of_inputs_that_do_not_correlate() -> None:
    error = output_error(WEIGHTS, quantized()[None], only_variance(STATISTICS))[0]
    torch.testing.assert_close(error, ((quantized() - WEIGHTS).square() * STATISTICS.variance[:, None]).sum(dim=2))


def test_the_second_moment_is_that_of_the_data() -> None:
    expected = (DATA.double().transpose(1, 2) @ DATA.double()) / DATA.shape[1]
    assert STATISTICS.second_moment is not None
    torch.testing.assert_close(STATISTICS.second_moment.double(), expected, rtol=1e-4, atol=1e-5)
    assert only_variance(STATISTICS).second_moment is None


@pytest.mark.parametrize("statistics", [STATISTICS, only_variance(STATISTICS)], ids=["covariance", "variance"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_no_other_gain_leaves_less_error(statistics: LayerStatistics, per_channel: bool) -> None:
    candidates = torch.stack([quantized(2), quantized(3), quantized(4)])
    gain = regression_gain(OutputMoments.measure(WEIGHTS, candidates, statistics), per_channel)
    assert gain.shape == (3, GROUPS, ROWS)

    def error(factor: torch.Tensor) -> torch.Tensor:
        found = output_error(WEIGHTS, candidates * factor[..., None], statistics)
        return found if per_channel else found.sum(dim=(1, 2))

    best = error(gain)
    assert bool((best < error(torch.ones_like(gain))).all())
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert bool((best <= error(gain * factor)).all())
    if not per_channel:
        assert all(values.unique().numel() == 1 for values in gain)


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_gain_is_one_where_there_is_no_output_and_never_negative(per_channel: bool) -> None:
    for candidate in (torch.zeros_like(WEIGHTS), -WEIGHTS):
        gain = regression_gain(OutputMoments.measure(WEIGHTS, candidate[None], STATISTICS), per_channel)
        assert torch.equal(gain, torch.ones_like(gain))
    dead = LayerStatistics(torch.zeros(GROUPS, COLUMNS), None, torch.zeros(GROUPS, COLUMNS))
    moments = OutputMoments.measure(WEIGHTS, quantized()[None], dead)
    assert torch.equal(regression_gain(moments, True), torch.ones(1, GROUPS, ROWS))


def test_the_covariance_is_applied_to_each_group_by_itself() -> None:
    candidates = torch.stack([WEIGHTS, quantized()])
    product = apply_covariance(candidates, STATISTICS)
    assert STATISTICS.covariance is not None
    for index in range(2):
        for group in range(GROUPS):
            torch.testing.assert_close(product[index, group], candidates[index, group] @ STATISTICS.covariance[group])


@pytest.mark.parametrize("statistics", [STATISTICS, only_variance(STATISTICS)], ids=["covariance", "variance"])
def test_the_energy_gain_restores_the_variance_of_each_output(statistics: LayerStatistics) -> None:
    wanted = output_variance(WEIGHTS, statistics)
    shrunk = (quantized() * 0.8)[None]
    moments = OutputMoments.measure(WEIGHTS, shrunk, statistics)
    gain = energy_gain(moments, wanted, per_channel=True)
    torch.testing.assert_close(output_variance((shrunk * gain[..., None])[0], statistics), wanted, rtol=1e-4, atol=1e-6)
    common = energy_gain(moments, wanted, per_channel=False)
    assert common.unique().numel() == 1
    found = output_variance((shrunk * common[..., None])[0], statistics)
    torch.testing.assert_close(found.sum(), wanted.sum(), rtol=1e-4, atol=1e-6)


def test_the_energy_gain_is_bounded_and_one_where_nothing_varies() -> None:
    wanted = output_variance(WEIGHTS, STATISTICS)

    def gain(quantized: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return energy_gain(OutputMoments.measure(WEIGHTS, quantized[None], STATISTICS), wanted, True)

    ones = torch.ones(1, GROUPS, ROWS)
    assert torch.equal(gain(0 * WEIGHTS, wanted), ones)
    assert torch.equal(gain(quantized(), 0 * wanted), ones)
    assert torch.equal(gain(9 * WEIGHTS, wanted), 0.5 * ones)
    assert torch.equal(gain(WEIGHTS / 9, wanted), 2 * ones)


@pytest.mark.parametrize("statistics", [STATISTICS, only_variance(STATISTICS)], ids=["covariance", "variance"])
@pytest.mark.parametrize("bits", [3, 8])
def test_scaled_moments_are_those_of_the_scaled_weights(statistics: LayerStatistics, bits: int) -> None:
    candidates = torch.stack([quantized(bits), 0.9 * quantized(bits)])
    moments = OutputMoments.measure(WEIGHTS, candidates, statistics)
    for gain in (torch.full((2, GROUPS, ROWS), 1.2), regression_gain(moments, True)):
        found = moments.scaled(gain)
        expected = OutputMoments.measure(WEIGHTS, candidates * gain[..., None], statistics)
        for name in ("variance", "cross", "error", "quantized"):
            values, others = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(values, others, rtol=1e-3, atol=1e-6 * float(moments.variance.max()))


def test_the_output_variance_is_that_of_the_outputs() -> None:
    expected = outputs(WEIGHTS).var(dim=2, correction=0)
    torch.testing.assert_close(output_variance(WEIGHTS, STATISTICS).double(), expected, rtol=1e-4, atol=1e-6)
