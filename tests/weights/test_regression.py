from __future__ import annotations

import dataclasses

import pytest
import torch

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.weights.input_shift import InputShift, ResidualShift
from nncf_mcq.weights.regression import DAMPINGS, Regression, find_regression, regressed_weights
from tests.models import correlated_data

ALL = Regression(damping=0.0, strength=1.0)


def covariance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first @ second.transpose(1, 2) / first.shape[2]).float()


def shift_of(x: torch.Tensor, quantized: torch.Tensor, lacking: torch.Tensor | None = None) -> InputShift:
    """The shift of inputs (groups, columns, positions), with what the output lacks (groups, rows, positions)."""
    x, quantized = x - x.mean(dim=2, keepdim=True), quantized - quantized.mean(dim=2, keepdim=True)
    own, zero = covariance(quantized, quantized), torch.zeros(x.shape[:2])
    variance = torch.diagonal(own, dim1=1, dim2=2)
    residual = None
    if lacking is not None:
        residual = ResidualShift(zero, lacking.var(dim=2).float(), covariance(lacking, quantized))
    return InputShift(
        zero,
        LayerStatistics(zero, own, variance),
        (x - quantized).var(dim=2).float(),
        covariance(x - quantized, quantized),
        x.shape[2],
        residual,
    )


def inputs(seed: int, positions: int, columns: int = 10, groups: int = 1, mixing: int = 0) -> torch.Tensor:
    """(groups, columns, positions): independent draws of correlated values, correlated alike for one `mixing`."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(groups, columns, positions, generator=generator, dtype=torch.float64)
    matrix = torch.randn(columns, columns, generator=torch.Generator().manual_seed(100 + mixing), dtype=torch.float64)
    return matrix @ drawn


def random_weights(groups: int = 1, rows: int = 4, columns: int = 10) -> torch.Tensor:
    return torch.randn(groups, rows, columns, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("groups", [1, 3])
def test_full_regression_is_least_squares(groups: int) -> None:
    x, noise = (correlated_data(groups, 10, seed=seed).double().transpose(1, 2) for seed in (0, 1))
    quantized = x + 0.3 * noise
    x, quantized = x - x.mean(dim=2, keepdim=True), quantized - quantized.mean(dim=2, keepdim=True)
    weights = random_weights(groups)
    found = regressed_weights(weights, shift_of(x, quantized), ALL)
    expected = torch.linalg.lstsq(quantized.transpose(1, 2), (weights.double() @ x).transpose(1, 2)).solution
    torch.testing.assert_close(found.double(), expected.transpose(1, 2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("groups", [1, 3])
def test_full_regression_makes_good_for_what_a_residual_lacks(groups: int) -> None:
    x = correlated_data(groups, 10, seed=0).double().transpose(1, 2)
    x -= x.mean(dim=2, keepdim=True)
    lacking = torch.randn(groups, 4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ x
    weights = random_weights(groups)
    found = regressed_weights(weights, shift_of(x, x, lacking), ALL)
    torch.testing.assert_close(found.double() @ x, weights.double() @ x + lacking, rtol=1e-3, atol=1e-3)


def test_half_the_strength_goes_half_the_way() -> None:
    x = inputs(0, 500)
    weights, shift = random_weights(), shift_of(x, x + 0.3 * inputs(1, 500, mixing=1))
    step = regressed_weights(weights, shift, Regression(0.3, 1.0)) - weights
    assert float(step.abs().max()) > 0.01
    torch.testing.assert_close(regressed_weights(weights, shift, Regression(0.3, 0.5)), weights + step / 2)


def test_weights_stay_where_both_networks_give_the_same_or_inputs_never_vary() -> None:
    weights = random_weights(2)
    for x in (inputs(0, 50, groups=2), torch.zeros(2, 10, 50, dtype=torch.float64)):
        shift = shift_of(x, x)
        found = find_regression(weights, (shift, shift))
        torch.testing.assert_close(regressed_weights(weights, shift, found), weights)


def test_what_holds_on_the_other_half_is_applied_in_full() -> None:
    x, others = inputs(0, 5000), inputs(1, 5000)
    scaled = [shift_of(item, 0.8 * item) for item in (x, others)]
    found = find_regression(random_weights(), scaled)
    assert found.damping == DAMPINGS[0]
    assert found.strength > 0.95


def test_what_the_halves_do_not_share_moves_nothing() -> None:
    # What lacks from the output has nothing to do with the inputs; each half shows a relation of its own by chance.
    halves = []
    for seed in (0, 1):
        x = inputs(seed, 12)
        lacking = torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(50 + seed), dtype=torch.float64)
        halves.append(shift_of(x, x, 5 * lacking))
    weights = random_weights()
    found = find_regression(weights, halves)
    assert found.strength < 0.2
    # By one half alone it would be moved far.
    trusting = find_regression(weights, (halves[0], halves[0]))
    assert trusting.strength > 0.9


@pytest.mark.parametrize("positions", [15, 30, 60])
@pytest.mark.parametrize("lack", [1.0, 5.0, 20.0])
def test_the_error_on_the_other_half_is_the_least_of_what_can_be_chosen(lack: float, positions: int) -> None:
    weights, chosen = random_weights(rows=3, columns=20), set()
    for seed in range(8):
        halves, pairs = [], []
        for part in (2 * seed, 2 * seed + 1):
            x = inputs(part, positions, columns=20, mixing=seed)
            quantized = 0.9 * x + 0.1 * inputs(part + 50, positions, columns=20, mixing=seed + 50)
            generator = torch.Generator().manual_seed(part + 100)
            lacking = lack * torch.randn(1, 3, positions, generator=generator, dtype=torch.float64)
            halves.append(shift_of(x, quantized, lacking))
            pairs.append((weights.double() @ x + lacking, quantized))

        def error(regression: Regression, halves=halves, pairs=pairs) -> float:  # type: ignore[no-untyped-def]
            """Of the output, where each half is corrected by what the other tells."""
            total = 0.0
            for learned, (wanted, quantized) in zip(halves[::-1], pairs, strict=True):
                moved = regressed_weights(weights, learned.shrunk(), regression).double()
                total += float((wanted - moved @ quantized).var(dim=2, correction=0).sum())
            return total

        found = find_regression(weights, tuple(halves))
        chosen.add(found.damping)
        least = error(found)
        for damping in DAMPINGS:
            for strength in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
                assert least <= error(Regression(damping, strength)) * (1 + 1e-4)
    assert len(chosen) > 1


def test_more_damping_is_tried_where_the_first_moves_nothing() -> None:
    # The halves contradict each other in a direction that inputs hardly take, and agree in the one that they take.
    x, others = (inputs(seed, 5000, columns=2) for seed in (0, 1))
    for item in (x, others):
        item[0] = (
            torch.tensor([[10.0], [0.1]]).sqrt() * torch.linalg.qr(item[0].T - item[0].mean(dim=1)).Q.T * 5000**0.5
        )
    first, second = (torch.tensor([[[0.3, seen]]], dtype=torch.float64) for seen in (1.0, -150.0))
    halves = (shift_of(x, x, first @ x), shift_of(others, others, second @ others))
    found = find_regression(torch.zeros(1, 1, 2), halves)
    # Neither do the first two.
    assert found.damping == DAMPINGS[-1]
    assert found.strength > 0


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units_do_not_matter(scale: float) -> None:
    weights = random_weights()

    def half(seed: int, factor: float) -> InputShift:
        x = factor * inputs(seed, 40)
        noise = torch.randn(1, 4, 40, generator=torch.Generator().manual_seed(50 + seed), dtype=torch.float64)
        return shift_of(x, x, 0.3 * weights.double() @ x + 5 * factor * noise)

    found, other = (find_regression(weights, (half(0, factor), half(1, factor))) for factor in (1.0, scale))
    assert 0 < found.strength < 1
    assert other.damping == found.damping
    assert other.strength == pytest.approx(found.strength, rel=1e-3)
    moved = [regressed_weights(weights, half(0, factor), found) for factor in (1.0, scale)]
    torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-4)


def test_each_group_is_damped_by_its_own_variance() -> None:
    x = inputs(0, 200, groups=2)
    x[1] *= 30
    noisy = x + 0.3 * x.std(dim=(1, 2), keepdim=True) * torch.randn(
        x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    weights, regression = random_weights(2), Regression(0.3, 1.0)
    together = regressed_weights(weights, shift_of(x, noisy), regression)
    for group in (slice(0, 1), slice(1, 2)):
        alone = regressed_weights(weights[group], shift_of(x[group], noisy[group]), regression)
        torch.testing.assert_close(together[group], alone)


def test_never_more_than_the_regression_is_applied() -> None:
    # What damping takes away, a strength above 1 would give back.
    x = inputs(0, 2000)
    half = shift_of(x, x, random_weights().double() @ x)
    assert find_regression(random_weights(), (half, half)).strength == 1.0


def test_the_moments_stay_as_they_are() -> None:
    weights, x = random_weights(), inputs(0, 60)
    shift = shift_of(x, x + 0.3 * inputs(1, 60, mixing=1))
    before = shift.covariance.clone()
    regressed_weights(weights, shift, find_regression(weights, (shift, shift)))
    torch.testing.assert_close(shift.covariance, before, rtol=0, atol=0)


def test_a_covariance_that_cannot_be_one_moves_nothing() -> None:
    shift = shift_of(inputs(0, 50), 0.8 * inputs(0, 50))
    broken = shift.covariance.clone()
    broken[0, 0, 1] = broken[0, 1, 0] = 2 * broken[0].diagonal().max()
    shift = dataclasses.replace(shift, quantized=dataclasses.replace(shift.quantized, covariance=broken))
    weights = random_weights()
    torch.testing.assert_close(regressed_weights(weights, shift, Regression(0.03, 1.0)), weights, rtol=0, atol=0)


def test_one_image_moves_nothing() -> None:
    assert find_regression(random_weights(), ()).strength == 0
