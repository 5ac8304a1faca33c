from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.weights.moments import output_error
from nncf_mcq.weights.rounding import Compensation, damp, prepare_compensation
from nncf_mcq.weights.trellis import (
    MEMORY,
    SUBSETS,
    TRELLIS_BITS,
    Blocks,
    alphabet,
    decode,
    subset_of_window,
    to_stream,
    unit_scale,
    window_values,
)
from nncf_mcq.weights.trellis_search import CodedLayer, TrellisSearch
from nncf_mcq.weights.viterbi import TrellisDecoder
from tests.models import correlated_data, moments_of

STATES = 2**MEMORY


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def decode_one_by_one(levels: np.ndarray, bits: int) -> np.ndarray:
    """As the documentation of the code puts it, weight by weight."""
    values, window = [], 0
    for level in levels.tolist():
        window = (2 * window + level % 2) % (2 * STATES)
        values.append(alphabet(bits)[SUBSETS * (level // 2) + subset_of_window()[window]])
    return np.array(values)


@pytest.mark.parametrize("bits", TRELLIS_BITS)
def test_an_alphabet_has_twice_the_values_of_a_grid_and_is_safe_on_every_cpu(bits: int) -> None:
    values = alphabet(bits)
    assert len(values) == 2 ** (bits + 1)
    assert (np.diff(values.astype(int)) >= 0).all()
    assert (values == -values[::-1]).all()
    assert np.abs(values).max() == 63
    assert sorted(window_values(bits).tolist()) == sorted(np.repeat(values, 2 ** (MEMORY - 1)).tolist())


def test_branches_of_a_state_choose_subsets_that_are_two_apart() -> None:
    subset = subset_of_window()
    states = np.arange(STATES)
    for first, second in ((2 * states, 2 * states + 1), (states, states + STATES)):
        assert (np.abs(subset[first] - subset[second]) == SUBSETS // 2).all()
    assert np.bincount(subset).tolist() == [2 * STATES // SUBSETS] * SUBSETS


@given(st.integers(1, 400))
def test_blocks_hold_all_rows_and_are_not_short(rows: int) -> None:
    blocks = Blocks.of(rows)
    assert blocks.count * blocks.length == rows
    assert blocks.length >= min(rows, 32)
    assert Blocks.of(128) == Blocks(4, 32)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TRELLIS_BITS), st.sampled_from([1, 7, 31, 64, 96, 127]), st.integers(1, 9), st.integers(0, 99))
def test_values_are_those_of_the_stream_decoded_weight_by_weight(bits: int, rows: int, columns: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 2**bits, (rows, columns))
    found = decode(levels, bits)
    assert found.shape == levels.shape
    np.testing.assert_array_equal(to_stream(found), decode_one_by_one(to_stream(levels), bits))


def test_a_stream_is_block_after_block_and_column_after_column() -> None:
    matrix = np.arange(64 * 3).reshape(64, 3)
    stream = to_stream(matrix)
    assert stream[:33].tolist() == [*matrix[::2, 0], matrix[0, 1]]
    assert stream[96] == matrix[1, 0]


@pytest.mark.parametrize(("start", "end"), [(0, -1), (-1, -1), (5, 9), (-1, 31), (17, -1)])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_sequence_is_closer(start: int, end: int, seed: int) -> None:
    bits, length = 2, 6
    rng = np.random.default_rng(seed)
    wanted = rng.normal(size=(length, 1)).astype(np.float32) * 30
    weight = rng.uniform(0.1, 1, (length, 1)).astype(np.float32)
    found = TrellisDecoder([bits]).find(wanted[:, None], weight[:, None], np.array([[start]]), np.array([[end]]))
    levels, values, first, last = (array[..., 0, :] for array in found)

    def path(state: int, sequence: tuple[int, ...]) -> tuple[np.ndarray, int]:
        found = []
        for level in sequence:
            window = 2 * state + level % 2
            found.append(alphabet(bits)[SUBSETS * (level // 2) + subset_of_window()[window]])
            state = window % STATES
        return np.array(found, dtype=float), state

    assert start in (-1, first[0])
    assert end in (-1, last[0])
    own, reached = path(int(first[0]), tuple(levels[:, 0].tolist()))
    assert (own.tolist(), reached) == (values[:, 0].tolist(), last[0])
    best = np.inf
    for state in range(STATES) if start < 0 else [start]:
        for branches in itertools.product((0, 1), repeat=length):
            # The best index of each weight does not depend on the others.
            choices = [path(state, branches)[0], path(state, tuple(branch + 2 for branch in branches))[0]]
            reached = path(state, branches)[1]
            if end in (-1, reached):
                errors = np.min([(choice - wanted[:, 0]) ** 2 for choice in choices], axis=0)
                best = min(best, float((weight[:, 0] * errors).sum()))
    assert float((weight[:, 0] * (own - wanted[:, 0]) ** 2).sum()) == pytest.approx(best, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 5))
def test_widths_side_by_side_find_what_each_finds_alone(seed: int, length: int, sequences: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (length, len(TRELLIS_BITS), sequences)
    # Quarters: middles between two values of the alphabet are among them.
    wanted = (rng.integers(-300, 300, shape) / 4).astype(np.float32)
    weight = rng.uniform(0.1, 1, shape).astype(np.float32)
    start, end = rng.integers(-1, STATES, (2, *shape[1:]))
    if length < MEMORY:
        end[:] = -1
    together = TrellisDecoder(TRELLIS_BITS).find(wanted, weight, start, end)
    for index, bits in enumerate(TRELLIS_BITS):
        one = slice(index, index + 1)
        alone = TrellisDecoder([bits]).find(wanted[:, one], weight[:, one], start[one], end[one])
        for both, single in zip(together, alone, strict=True):
            np.testing.assert_array_equal(both[..., one, :], single)


@pytest.mark.parametrize(("bits", "share"), [(2, 0.78), (3, 0.7), (4, 0.7), (5, 0.78)])
def test_normal_weights_have_less_error_than_on_the_best_grid(bits: int, share: float) -> None:
    wanted = normal(48, 600)
    free = np.full((1, 600), -1)
    steps = np.float32(unit_scale(bits))
    _, values, _, _ = TrellisDecoder([bits]).find(
        (wanted / steps).astype(np.float32)[:, None], np.ones(1, dtype=np.float32), free, free
    )
    coded = float(np.square(wanted - values[:, 0] * steps).mean())
    grids = []
    for step in np.geomspace(0.03, 1.5, 60):
        level = np.clip(np.round(wanted / step - 0.5), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        grids.append(float(np.square(wanted - (level + 0.5) * step).mean()))
    assert coded < share * min(grids)


def search_of(
    rows: int, columns: int, bits: Sequence[int], seed: int, per_channel: bool = True
) -> tuple[torch.Tensor, LayerStatistics, TrellisSearch]:
    weights = torch.from_numpy(normal(rows, columns, seed=seed))
    moments = moments_of(correlated_data(1, columns, seed))
    assert moments.covariance is not None
    search = TrellisSearch(weights, bits, prepare_compensation(moments.covariance), per_channel)
    return weights, moments, search


def errors_of(weights: torch.Tensor, coded: CodedLayer, moments: torch.Tensor) -> torch.Tensor:
    difference = weights - coded.values[:, 0]
    return (difference @ moments * difference).sum(dim=(1, 2))


def check_levels(coded: CodedLayer, bits: Sequence[int]) -> None:
    levels, integers = coded.matrices(coded.levels), coded.matrices(coded.integers)
    for width, own, values in zip(bits, levels, integers, strict=True):
        assert own.max() < 2**width
        np.testing.assert_array_equal(decode(own, width), values)


@pytest.mark.parametrize("bits", [TRELLIS_BITS, (3,), (5, 2)])
@pytest.mark.parametrize(("rows", "columns"), [(64, 70), (37, 9), (128, 2), (8, 130)])
def test_coded_levels_stand_for_the_values_that_were_found(bits: Sequence[int], rows: int, columns: int) -> None:
    weights, moments, search = search_of(rows, columns, bits, seed=rows)
    assert moments.covariance is not None
    damped = damp(moments.covariance)
    coded = search.code()
    before = errors_of(weights, coded, damped.matrices[0])
    for _ in range(3):
        check_levels(coded, bits)
        pull = (weights - coded.values[:, 0]) @ damped.matrices[0]
        new = search.improve(coded, damped, pull)
        expected = (weights - coded.values[:, 0]) @ damped.matrices[0]
        torch.testing.assert_close(new, expected, atol=1e-4 * float(pull.abs().max()), rtol=1e-3)
        after = errors_of(weights, coded, damped.matrices[0])
        assert (after <= before * (1 + 1e-5)).all()
        before = after


@pytest.mark.parametrize("first", [0, 1, 2])
def test_blocks_go_on_from_each_other_whichever_column_is_first(first: int) -> None:
    weights = torch.from_numpy(normal(96, 3))
    moments = torch.eye(3)
    moments[first, first] = 2
    check_levels(TrellisSearch(weights, (3, 4), prepare_compensation(moments[None]), True).code(), (3, 4))


def test_columns_make_good_for_each_other() -> None:
    weights, moments, search = search_of(64, 60, (3,), seed=2)
    assert moments.covariance is not None
    diagonal = torch.diag_embed(torch.diagonal(moments.covariance, dim1=1, dim2=2))
    alone = TrellisSearch(weights, (3,), prepare_compensation(diagonal), True)
    together, apart = (
        float(output_error(weights[None], found.code().values, moments).sum()) for found in (search, alone)
    )
    assert together < 0.7 * apart


def test_one_scale_for_all_rows() -> None:
    _, _, search = search_of(40, 20, (3, 4), seed=1, per_channel=False)
    assert [row.unique().numel() for row in search.code().scale] == [1, 1]


def test_inputs_that_never_vary_do_no_harm() -> None:
    weights = torch.from_numpy(normal(40, 12))
    compensation: Compensation = prepare_compensation(torch.zeros(1, 12, 12))
    coded = TrellisSearch(weights, TRELLIS_BITS, compensation, True).code()
    assert torch.isfinite(coded.values).all()
    TrellisSearch(torch.zeros(40, 12), (3,), compensation, True).code()
