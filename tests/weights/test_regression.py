from __future__ import annotations

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


@pytest.mark.parametrize("seed", range(5))
def test_the_error_on_the_other_half_is_the_least_of_what_can_be_chosen(seed: int) -> None:
    weights = random_weights(rows=3, columns=20)
    pairs = []
    for part in (0, 1):
        x = inputs(10 * seed + part, 30, columns=20, mixing=seed)
        pairs.append((x, x + 0.5 * inputs(10 * seed + 5 + part, 30, columns=20, mixing=seed + 50)))
    halves = [shift_of(*pair) for pair in pairs]

    def error(regression: Regression) -> float:
        """Of the output, where each half is corrected by what the other tells."""
        total = 0.0
        for learned, (x, quantized) in zip(halves[::-1], pairs, strict=True):
            moved = regressed_weights(weights, learned.shrunk(), regression).double()
            difference = weights.double() @ x - moved @ quantized
            total += float(difference.var(dim=2, correction=0).sum())
        return total

    found = find_regression(weights, halves)
    least = error(found)
    assert least < error(Regression(DAMPINGS[0], 0.0))
    for damping in DAMPINGS:
        for strength in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            assert least <= error(Regression(damping, strength)) * (1 + 1e-6)


def test_one_image_moves_nothing() -> None:
    assert find_regression(random_weights(), ()).strength == 0
