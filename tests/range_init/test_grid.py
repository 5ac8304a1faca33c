from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nncf_mcq.range_init.grid import Grid, QuantizationMode, grid_from_range, grid_from_scale, is_symmetric

MODES = st.sampled_from(["symmetric", "asymmetric"])
WIDTHS = st.integers(2, 8)
FINITE = st.floats(-1e4, 1e4, width=32)


@st.composite
def weight_arrays(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6)))
    return torch.from_numpy(draw(arrays.arrays(np.float32, shape, elements=FINITE)))


def grid_over(weights: torch.Tensor, bits: int, mode: QuantizationMode) -> Grid:
    return grid_from_range(weights.amin(dim=2), weights.amax(dim=2), bits, mode)


@given(weight_arrays(), WIDTHS, MODES)
def test_quantized_weights_lie_on_the_grid(weights: torch.Tensor, bits: int, mode: QuantizationMode) -> None:
    grid = grid_over(weights, bits, mode)
    levels = grid.levels(weights)
    assert torch.equal(levels, levels.round())
    assert int(levels.min()) >= grid.low >= 0
    assert int(levels.max()) <= grid.high <= 2**bits - 1
    assert torch.equal(grid.quantize(weights), (levels - grid.zero_point[..., None]) * grid.scale[..., None])
    assert torch.equal(grid.levels(grid.quantize(weights)), levels)


@given(weight_arrays(), WIDTHS, MODES, st.floats(0.1, 1.5))
def test_rounding_inside_of_the_range_errs_by_half_a_step_at_most(
    weights: torch.Tensor, bits: int, mode: QuantizationMode, shrink: float
) -> None:
    whole = grid_over(weights, bits, mode)
    grid = grid_from_scale(whole.scale * shrink, whole.zero_point, bits, mode)
    inside = torch.maximum(torch.minimum(weights, grid.range_high[..., None]), grid.range_low[..., None])
    limit = grid.scale[..., None] * 0.5001
    assert bool(((grid.quantize(inside) - inside).abs() <= limit).all())
    # What lies outside goes to the nearer end.
    outside = weights != inside
    torch.testing.assert_close(grid.quantize(weights)[outside], inside[outside])


@given(weight_arrays(), WIDTHS, MODES)
def test_zero_is_exact(weights: torch.Tensor, bits: int, mode: QuantizationMode) -> None:
    grid = grid_over(weights, bits, mode)
    assert torch.equal(grid.zero_point, grid.zero_point.round())
    assert bool((grid.zero_point >= grid.low).all())
    assert bool((grid.zero_point <= grid.high).all())
    assert not grid.quantize(torch.zeros_like(weights)).any()


@given(WIDTHS, MODES, FINITE)
def test_the_number_of_levels_is_that_of_the_mode(bits: int, mode: QuantizationMode, low: float) -> None:
    grid = grid_from_range(torch.tensor([low]), torch.tensor([1.0]), bits, mode)
    assert grid.high - grid.low + 1 == (2**bits - 1 if is_symmetric(bits, mode) else 2**bits)
    if is_symmetric(bits, mode):
        assert grid.zero_point.item() == 2 ** (bits - 1)
        assert grid.range_low.item() == -grid.range_high.item()
        assert grid.range_high.item() == pytest.approx(max(1.0, -low), rel=1e-6)


def test_eight_bits_are_symmetric_in_both_modes() -> None:
    assert is_symmetric(8, "asymmetric")
    assert not is_symmetric(7, "asymmetric")
    assert is_symmetric(7, "symmetric")


@pytest.mark.parametrize("bits", range(2, 8))
def test_an_asymmetric_range_on_one_side_of_zero_spends_no_level_on_the_other(bits: int) -> None:
    grid = grid_from_range(torch.tensor([0.5, -2.0]), torch.tensor([1.0, -1.0]), bits, "asymmetric")
    assert grid.zero_point.tolist() == [0, 2**bits - 1]
    torch.testing.assert_close(grid.range_high[0], torch.tensor(1.0))
    torch.testing.assert_close(grid.range_low[1], torch.tensor(-2.0))


@given(WIDTHS, MODES)
def test_a_grid_from_its_own_scale_is_the_same(bits: int, mode: QuantizationMode) -> None:
    grid = grid_from_range(torch.tensor([-1.0, 0.0]), torch.tensor([0.3, 0.0]), bits, mode)
    same = grid_from_scale(grid.scale, grid.zero_point, bits, mode)
    assert torch.equal(same.scale, grid.scale)
    assert torch.equal(same.zero_point, grid.zero_point)
    assert (same.low, same.high) == (grid.low, grid.high)
    assert bool((grid.scale > 0).all())


@pytest.mark.parametrize("bits", [2, 7])
def test_a_scale_is_positive_and_a_zero_point_on_the_grid(bits: int) -> None:
    grid = grid_from_scale(torch.tensor([0.0, -1.0, 2.0]), torch.tensor([-3.0, 1.0, 300.0]), bits, "asymmetric")
    assert grid.scale.tolist() == [pytest.approx(1e-12), pytest.approx(1e-12), 2.0]
    assert grid.zero_point.tolist() == [0, 1, 2**bits - 1]
    symmetric = grid_from_scale(torch.tensor([0.0, 2.0]), torch.tensor([-3.0, 300.0]), bits, "symmetric")
    assert symmetric.scale.tolist() == [pytest.approx(1e-12), 2.0]
    assert symmetric.zero_point.tolist() == [2 ** (bits - 1)] * 2
