from __future__ import annotations

import numpy as np
import pytest
import torch

from nncf_mcq.errors import QuantizationError
from nncf_mcq.range_init.grid import Grid, grid_from_range
from nncf_mcq.weights.moments import multiply, output_error
from nncf_mcq.weights.rounding import (
    Compensation,
    damp,
    descend,
    prepare_compensation,
    round_to_nearest,
    round_with_compensation,
)
from tests.models import correlated_data, moments_of


def random_weights(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stacked_grid(weights: torch.Tensor, bits: int = 3, ratios: tuple[float, ...] = (1.0,)) -> Grid:
    """Asymmetric grids of (candidates, groups, rows)."""
    grids = [grid_from_range(weights.amin(2) * ratio, weights.amax(2) * ratio, bits, "asymmetric") for ratio in ratios]
    scale, zero_point = (torch.stack([getattr(grid, name) for grid in grids]) for name in ("scale", "zero_point"))
    return Grid(scale, zero_point, grids[0].low, grids[0].high)


def one_group(compensation: Compensation, group: int) -> Compensation:
    part = slice(group, group + 1)
    return Compensation(
        compensation.order[part], compensation.factor[part], compensation.diagonal[part], compensation.damping[part]
    )


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_compensation_lowers_the_output_error_on_correlated_inputs(bits: int) -> None:
    nearest, compensated = 0.0, 0.0
    for seed in range(8):
        weights = random_weights(2, 6, 40, seed=seed)
        statistics = moments_of(correlated_data(2, 40, seed))
        assert statistics.covariance is not None
        grid = stacked_grid(weights, bits)
        levels, _ = round_with_compensation(weights, grid, prepare_compensation(statistics.covariance))
        compensated += float(output_error(weights, grid.values(levels), statistics).sum())
        nearest += float(output_error(weights, grid.values(round_to_nearest(weights, grid)), statistics).sum())
    assert compensated < 0.7 * nearest


def test_compensation_is_rounding_to_nearest_where_inputs_do_not_correlate() -> None:
    weights = random_weights(2, 5, 90)
    moments = torch.diag_embed(random_weights(2, 90, seed=1).abs() + 0.1)
    grid = stacked_grid(weights)
    levels, _ = round_with_compensation(weights, grid, prepare_compensation(moments))
    assert torch.equal(levels, round_to_nearest(weights, grid))


def test_levels_equal_those_of_the_published_algorithm_without_blocks() -> None:
    columns = 150  # More than two blocks.
    weights = random_weights(1, 4, columns)
    covariance = moments_of(correlated_data(1, columns, seed=5)).covariance
    assert covariance is not None
    grid = stacked_grid(weights)
    found = round_with_compensation(weights, grid, prepare_compensation(covariance, damping=0.05))[0][0, 0].numpy()

    moments = covariance[0].double().numpy()
    order = np.argsort(-np.diag(moments), kind="stable")
    inverse = np.linalg.inv(moments[np.ix_(order, order)] + 0.05 * np.diag(moments).mean() * np.eye(columns))
    work = weights[0].double().numpy()[:, order]
    scale, zero_point = grid.scale[0, 0].double().numpy(), grid.zero_point[0, 0].double().numpy()
    expected = np.empty_like(work)
    for column in range(columns):
        level = np.clip(np.round(work[:, column] / scale) + zero_point, grid.low, grid.high)
        expected[:, order[column]] = level
        error = (work[:, column] - (level - zero_point) * scale) / inverse[column, column]
        work -= np.outer(error, inverse[column])
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    # Float32 may decide a tie differently, and what follows in that row with it.
    assert (found == expected).mean() > 0.97


@pytest.mark.parametrize("groups", [1, 4])
def test_the_error_comes_with_the_levels(groups: int) -> None:
    weights = random_weights(groups, 3, 150)
    covariance = moments_of(correlated_data(groups, 150, seed=6)).covariance
    assert covariance is not None
    compensation = prepare_compensation(covariance)
    grid = stacked_grid(weights, 3, (0.5, 1.0))
    levels, loss = round_with_compensation(weights, grid, compensation)
    damped = covariance + compensation.damping[:, None, None] * torch.eye(150)
    torch.testing.assert_close(loss, quadratic_error(weights, grid, levels, damped), rtol=1e-3, atol=0)


def test_levels_are_on_the_grid() -> None:
    weights = random_weights(2, 3, 70)
    covariance = moments_of(correlated_data(2, 70, seed=0)).covariance
    assert covariance is not None
    grid = stacked_grid(weights, 3, (0.4, 1.0))
    levels, _ = round_with_compensation(weights, grid, prepare_compensation(covariance))
    assert levels.shape == (2, 2, 3, 70)
    assert torch.equal(levels, levels.round())
    assert levels.min() >= grid.low
    assert levels.max() <= grid.high


def test_candidates_together_give_what_each_gives_alone() -> None:
    weights = random_weights(2, 3, 70)
    covariance = moments_of(correlated_data(2, 70, seed=0)).covariance
    assert covariance is not None
    compensation = prepare_compensation(covariance)
    grid = stacked_grid(weights, 4, (0.5, 0.8, 1.0))
    together, _ = round_with_compensation(weights, grid, compensation)
    for index in range(3):
        single = Grid(grid.scale[index : index + 1], grid.zero_point[index : index + 1], grid.low, grid.high)
        alone = round_with_compensation(weights, single, compensation)[0][0]
        assert (together[index] == alone).float().mean() > 0.99


def test_groups_do_not_see_each_other() -> None:
    weights = random_weights(4, 1, 9)
    covariance = moments_of(correlated_data(4, 9, seed=2)).covariance
    assert covariance is not None
    compensation = prepare_compensation(covariance)
    grid = stacked_grid(weights)
    together, _ = round_with_compensation(weights, grid, compensation)
    for group in range(4):
        part = slice(group, group + 1)
        single = Grid(grid.scale[:, part], grid.zero_point[:, part], grid.low, grid.high)
        alone, _ = round_with_compensation(weights[part], single, one_group(compensation, group))
        assert torch.equal(together[:, part], alone)
        prepared = prepare_compensation(covariance[part])
        torch.testing.assert_close(prepared.factor[0], compensation.factor[group])


def test_the_order_of_the_columns_does_not_matter() -> None:
    weights = random_weights(1, 4, 30)
    covariance = moments_of(correlated_data(1, 30, seed=3)).covariance
    assert covariance is not None
    grid = stacked_grid(weights)
    levels, _ = round_with_compensation(weights, grid, prepare_compensation(covariance))
    shuffle = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = covariance[:, shuffle][:, :, shuffle]
    again, _ = round_with_compensation(weights[:, :, shuffle], grid, prepare_compensation(shuffled))
    assert (again == levels[..., shuffle]).float().mean() > 0.99
    # A level stays with its weight: the two cannot differ by much.
    assert (grid.values(levels)[0] - weights).abs().median() < grid.scale.max()


@pytest.mark.parametrize("dead", [slice(0, 3), slice(0, 20)])
def test_inputs_that_never_vary_are_rounded_to_nearest(dead: slice) -> None:
    weights = random_weights(1, 4, 20)
    covariance = moments_of(correlated_data(1, 20, seed=4)).covariance
    assert covariance is not None
    covariance[:, dead] = 0
    covariance[:, :, dead] = 0
    compensation = prepare_compensation(covariance)
    assert bool(torch.isfinite(compensation.factor).all())
    grid = stacked_grid(weights)
    levels, _ = round_with_compensation(weights, grid, compensation)
    assert torch.equal(levels[..., dead], round_to_nearest(weights, grid)[..., dead])


def test_moments_that_are_not_definite_are_damped_until_they_are() -> None:
    indefinite = torch.tensor([[[1.0, 2.0], [2.0, 1.0]]])
    compensation = prepare_compensation(indefinite)
    factor, diagonal = compensation.factor[0].double(), compensation.diagonal[0].double()
    damping = factor @ diagonal.diag() @ factor.T - indefinite[0].double()
    torch.testing.assert_close(damping, damping[0, 0] * torch.eye(2, dtype=torch.float64), rtol=1e-4, atol=1e-4)
    assert damping[0, 0] > 1  # The smaller eigenvalue is -1.
    torch.testing.assert_close(damping[0, 0].float(), compensation.damping[0])


def best_levels(weights: torch.Tensor, grid: Grid, moments: torch.Tensor) -> torch.Tensor:
    """Of one row, by trying all of them."""
    choices = [torch.arange(grid.low, grid.high + 1, dtype=torch.float32)] * weights.shape[2]
    levels = torch.cartesian_prod(*choices)[:, None, None]
    scale, zero_point = (values.expand(len(levels), 1, 1) for values in (grid.scale, grid.zero_point))
    difference = weights - Grid(scale, zero_point, grid.low, grid.high).values(levels)
    return levels[((difference @ moments) * difference).sum(dim=(1, 2, 3)).argmin()]


def quadratic_error(weights: torch.Tensor, grid: Grid, levels: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    difference = weights - grid.values(levels)
    return ((difference @ moments) * difference).sum(dim=3)


def descended(
    weights: torch.Tensor, grid: Grid, levels: torch.Tensor, moments: torch.Tensor, sweeps: int
) -> torch.Tensor:
    """Levels after some sweeps, and whether the pull that is carried on is theirs."""
    pull = multiply(weights - grid.values(levels), moments)
    for _ in range(sweeps):
        levels, pull = descend(grid, levels, pull, moments)
    expected = multiply(weights - grid.values(levels), moments)
    torch.testing.assert_close(pull, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    return levels


@pytest.mark.parametrize("columns", [5, 64, 150])
@pytest.mark.parametrize("groups", [1, 3])
def test_descent_never_raises_the_error_of_any_row_and_ends_where_no_single_level_helps(
    columns: int, groups: int
) -> None:
    weights = random_weights(groups, 4, columns)
    moments = moments_of(correlated_data(groups, columns, seed=2)).covariance
    assert moments is not None
    grid = stacked_grid(weights, 3, (0.6, 1.0))
    levels = round_to_nearest(weights, grid)
    before = quadratic_error(weights, grid, levels, moments)
    once, final = (descended(weights, grid, levels, moments, sweeps) for sweeps in (1, 50))
    after_one, after = (quadratic_error(weights, grid, found, moments) for found in (once, final))
    assert (after_one <= before * (1 + 1e-4)).all()
    assert (after <= after_one * (1 + 1e-4)).all()
    assert float(after.sum()) < 0.9 * float(before.sum())
    assert final.min() >= grid.low
    assert final.max() <= grid.high
    assert torch.equal(final, final.round())
    for column in range(0, columns, 7):
        for step in (-1.0, 1.0):
            moved = final.clone()
            moved[..., column] = (moved[..., column] + step).clamp(grid.low, grid.high)
            assert (quadratic_error(weights, grid, moved, moments) >= after * (1 - 1e-3) - 1e-5).all()


def test_descent_comes_close_to_the_best_of_all_levels() -> None:
    found, best, nearest = 0.0, 0.0, 0.0
    for seed in range(10):
        weights = random_weights(1, 1, 6, seed=seed)
        statistics = moments_of(correlated_data(1, 6, seed))
        moments = statistics.covariance
        assert moments is not None
        grid = stacked_grid(weights, 2)
        start, _ = round_with_compensation(weights, grid, prepare_compensation(moments))
        levels = descended(weights, grid, start, moments, sweeps=5)
        found += float(quadratic_error(weights, grid, levels, moments).sum())
        best += float(quadratic_error(weights, grid, best_levels(weights, grid, moments)[None], moments).sum())
        nearest += float(quadratic_error(weights, grid, round_to_nearest(weights, grid), moments).sum())
    assert best <= found * (1 + 1e-5)
    assert found < best + 0.3 * (nearest - best)


def test_descent_leaves_what_inputs_that_never_vary_say_nothing_about() -> None:
    weights = random_weights(1, 3, 8)
    moments = torch.zeros(1, 8, 8)
    moments[:, :4, :4] = torch.eye(4)
    grid = stacked_grid(weights)
    start = torch.full((1, 1, 3, 8), 2.0)
    levels = descended(weights, grid, start, moments, sweeps=1)
    assert torch.equal(levels[..., 4:], start[..., 4:])
    assert torch.equal(levels[..., :4], round_to_nearest(weights, grid)[..., :4])


def test_damping_adds_a_share_of_the_mean_diagonal_and_edits_nothing() -> None:
    moments = moments_of(correlated_data(2, 6, seed=0)).covariance
    assert moments is not None
    before = moments.clone()
    damped = damp(moments, 0.5)
    added = damped.matrices - moments
    assert torch.equal(moments, before)
    mean = torch.diagonal(moments, dim1=1, dim2=2).mean(dim=1)
    torch.testing.assert_close(damped.damping, 0.5 * mean)
    torch.testing.assert_close(added, 0.5 * mean[:, None, None] * torch.eye(6).expand(2, 6, 6))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_moments_that_overflowed_are_refused_rather_than_damped_for_ever(value: float) -> None:
    moments = torch.eye(3)[None].clone()
    moments[0, 1, 1] = value
    with pytest.raises(QuantizationError, match="their second moments are not finite"):
        prepare_compensation(moments)
