"""The levels of trellis-coded weights: the sequences of least error, column by column."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nncf_mcq.weights.rounding import Compensation, DampedMoments
from nncf_mcq.weights.trellis import (
    MEMORY,
    SUBSETS,
    Blocks,
    alphabet,
    subset_of_window,
    unit_scale,
)

FloatArray = npt.NDArray[np.float32]
IntegerArray = npt.NDArray[np.integer]

_BLOCK = 64
"""Columns updated lazily together, as in `nncf_mcq.weights.rounding`."""

SCALE_FACTORS = (0.8, 0.9, 1.0, 1.12, 1.25, 1.45, 1.7, 2.0, 2.4)
"""Scales that are tried for each row, relative to the one for normally distributed weights of the row's deviation."""

_SCALE_COLUMNS = 256
_SCALE_SEQUENCES = 4096
"""Columns, and blocks of columns, at most that scales are chosen on."""

_COMMON_SHARE = 0.5
"""Weight of the mean of all rows' relative errors beside a row's own when its scale is chosen: one row alone is few
weights to choose by."""

_STATES = 2**MEMORY
_NEVER = np.float32(1e30)


class TrellisDecoder:
    """Finds the sequences of values that come closest to what is wanted, for one bit-width.

    Source: Viterbi, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm", IEEE
    Transactions on Information Theory 13(2), 1967.
    """

    def __init__(self, bits: int) -> None:
        values = alphabet(bits).astype(np.float32)
        self._values = values
        self._middles = [(values[j::SUBSETS][1:] + values[j::SUBSETS][:-1]) / 2 for j in range(SUBSETS)]
        # A state is entered from two: `windows[n]` and that plus 2^MEMORY, the oldest branch being its highest bit.
        self._subset = subset_of_window()
        self._entering = [self._subset[first + np.arange(_STATES)].reshape(-1, 2) for first in (0, _STATES)]

    def find(
        self, wanted: FloatArray, weight: FloatArray, start: IntegerArray, end: IntegerArray
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8], IntegerArray, IntegerArray]:
        """The sequences of least weighted squared error.

        Args:
            wanted: (length, sequences).
            weight: Of the same shape, or one that broadcasts to it.
            start: (sequences,) states before the first value; -1 where any will do.
            end: (sequences,) states after the last value; -1 where any will do.

        Returns:
            The levels and the values, (length, sequences), and the states of start and end, (sequences,).
        """
        length, count = wanted.shape
        nearest = np.stack(
            [np.searchsorted(middles, wanted.reshape(-1)).reshape(length, count) for middles in self._middles], axis=1
        )
        values = self._values[SUBSETS * nearest + np.arange(SUBSETS)[:, None]]
        distance = np.square(wanted[:, None] - values) * np.broadcast_to(weight, wanted.shape)[:, None]
        # Sequences last: that is what an operation of NumPy runs along.
        low, high = (distance[:, subset] for subset in self._entering)
        cost = np.full((_STATES, count), _NEVER, dtype=np.float32)
        cost[:, start < 0] = 0
        known = np.flatnonzero(start >= 0)
        cost[start[known], known] = 0
        from_low, from_high = np.empty((2, _STATES // 2, 2, count), dtype=np.float32)
        is_high = np.empty((length, _STATES // 2, 2, count), dtype=np.bool_)
        for step in range(length):
            np.add(cost[: _STATES // 2, None], low[step], out=from_low)
            np.add(cost[_STATES // 2 :, None], high[step], out=from_high)
            np.less(from_high, from_low, out=is_high[step])
            cost = np.minimum(from_low, from_high).reshape(_STATES, count)
        state = np.where(end >= 0, end, cost.argmin(axis=0))
        last, sequences = state, np.arange(count)
        entered = is_high.reshape(length, _STATES, count)
        windows = np.empty((length, count), dtype=np.int64)
        for step in range(length - 1, -1, -1):
            window = windows[step] = state + _STATES * entered[step, state, sequences]
            state = window >> 1
        subset = self._subset[windows][:, None]
        index = np.take_along_axis(nearest, subset, axis=1)[:, 0]
        found = np.take_along_axis(values, subset, axis=1)[:, 0].astype(np.int8)
        return (index << 1 | windows & 1).astype(np.uint8), found, state, last


@dataclass
class _States:
    """The states between the columns of each block: each is settled by the column beside it that is searched first.

    Attributes:
        values: (blocks, columns + 1); -1 where it is not settled. What is after a block's last column is before the
            next block's first one.
    """

    values: IntegerArray

    @classmethod
    def unsettled(cls, blocks: int, columns: int) -> _States:
        values = np.full((blocks, columns + 1), -1)
        values[0, 0] = 0
        return cls(values)

    def settle(self, column: int, start: IntegerArray, end: IntegerArray) -> None:
        values = self.values
        values[:, column], values[:, column + 1] = start, end
        if column == 0:
            values[:-1, -1] = start[1:]
        if column == values.shape[1] - 2:
            values[1:, 0] = end[:-1]


@dataclass
class CodedLayer:
    """The trellis-coded weights of a layer of one group.

    Attributes:
        levels: (columns, rows) levels.
        integers: (columns, rows) the values that they stand for.
        scale: (rows,) float32.
        states: Of the trellis between columns.
    """

    levels: npt.NDArray[np.uint8]
    integers: npt.NDArray[np.int8]
    scale: torch.Tensor
    states: _States

    @property
    def values(self) -> torch.Tensor:
        """(1, 1, rows, columns) weights, as of one candidate and one group."""
        return (torch.from_numpy(self.integers).to(torch.float32) * self.scale).T[None, None]


class TrellisSearch:
    """Codes the weights of a layer at one bit-width.

    Args:
        weights: (rows, columns) the weights to come close to.
        bits: Width.
        compensation: Factors of the moments of the layer's input, of one group.
        per_channel: One scale per row rather than one for all.
    """

    def __init__(self, weights: torch.Tensor, bits: int, compensation: Compensation, per_channel: bool) -> None:
        self._weights = weights
        self._bits = bits
        self._compensation = compensation
        self._order = compensation.order[0].numpy()
        self._blocks = Blocks.of(len(weights))
        self._decoder = TrellisDecoder(bits)
        self._per_channel = per_channel

    def code(self) -> CodedLayer:
        """Column after column, the most important first; each makes good for the errors of those coded before.

        Source: Frantar et al., "GPTQ", ICLR 2023; with a trellis along the rows: Tseng et al., "QTIP", NeurIPS 2024.
        """
        deviation = self._weights.square().mean(dim=1 if self._per_channel else (0, 1)).sqrt().clamp_min(1e-12)
        scale = (unit_scale(self._bits) * deviation).expand(len(self._weights))
        # Without the trellis it takes no time to see what columns are to make good for, which the scales depend on.
        pairs = alphabet(self._bits).astype(np.float32).reshape(-1, 2).mean(axis=1)
        middles = (pairs[1:] + pairs[:-1]) / 2
        wanted = self._round(scale, lambda _, column: pairs[np.searchsorted(middles, column)])
        scale = scale * self._best_factors(wanted.numpy(), scale)
        rows, columns = self._weights.shape
        levels, integers = np.empty((columns, rows), dtype=np.uint8), np.empty((columns, rows), dtype=np.int8)
        coded = CodedLayer(levels, integers, scale, _States.unsettled(self._blocks.count, columns))
        self._round(scale, functools.partial(self._code_column, coded, scale.square().numpy()))
        return coded

    def _round(self, scale: torch.Tensor, choose: Callable[[int, FloatArray], npt.NDArray[np.number]]) -> torch.Tensor:
        """Rounds column after column.

        Args:
            scale: (rows,) of the weights.
            choose: Whole numbers (rows,) for a column, given what they should be.

        Returns:
            (columns, rows) what the columns should have been, times the scale, in the order that they were rounded in.
        """
        columns = self._weights.shape[1]
        factor = self._compensation.factor[0]
        ordered = self._weights.T[self._compensation.order[0]].contiguous()
        work, inverse = ordered.clone(), 1 / scale
        for first in range(0, columns, _BLOCK):
            last = min(first + _BLOCK, columns)
            errors = ordered[first:last].clone()
            for position in range(first, last):
                chosen = choose(int(self._order[position]), (work[position] * inverse).numpy())
                error = errors[position - first].sub_(torch.from_numpy(chosen) * scale)
                if position + 1 < last:
                    work[position + 1 : last].addr_(factor[position, position + 1 : last], error)
            if last < columns:
                work[last:].addmm_(factor[first:last, last:].T, errors)
        return work

    def _code_column(
        self, coded: CodedLayer, weight: FloatArray, column: int, wanted: FloatArray
    ) -> npt.NDArray[np.int8]:
        """The values (rows,) of one column; it has them then, and the states beside it are settled."""
        states = coded.states
        levels, values, start, end = self._decoder.find(
            self._in_blocks(wanted), self._in_blocks(weight), states.values[:, column], states.values[:, column + 1]
        )
        states.settle(column, start, end)
        coded.levels[column], coded.integers[column] = levels.reshape(-1), values.reshape(-1)
        found: npt.NDArray[np.int8] = coded.integers[column]
        return found

    def _in_blocks(self, rows: FloatArray) -> FloatArray:
        """(rows,) as (length, blocks)."""
        return rows.reshape(self._blocks.length, self._blocks.count)

    def _best_factors(self, wanted: FloatArray, scale: torch.Tensor) -> torch.Tensor:
        """(rows,) the factors on the scale that leave the least error of some of the columns (columns, rows) wanted."""
        columns, rows = wanted.shape
        most = max(min(_SCALE_COLUMNS, _SCALE_SEQUENCES // self._blocks.count, columns), 1)
        chosen = np.unique(np.linspace(0, columns - 1, most).round().astype(np.int64))
        diagonal = self._compensation.diagonal[0].numpy()[chosen, None]
        # (length, blocks * columns): all sequences side by side.
        wanted = wanted[chosen]
        shape = (len(chosen), self._blocks.length, self._blocks.count)
        free = np.full(len(chosen) * self._blocks.count, -1)
        total = (diagonal * np.square(wanted)).sum(axis=0)
        losses = []
        for factor in SCALE_FACTORS:
            steps = (factor * scale).numpy()
            weight = np.broadcast_to(diagonal * np.square(steps), wanted.shape)
            normalized, weights = (
                values.reshape(shape).transpose(1, 0, 2).reshape(shape[1], -1) for values in (wanted / steps, weight)
            )
            _, found, _, _ = self._decoder.find(normalized, weights, free, free)
            values = found.reshape(shape[1], shape[0], shape[2]).transpose(1, 0, 2).reshape(len(chosen), rows) * steps
            # With the gain that the scale will get.
            power = (diagonal * np.square(values)).sum(axis=0)
            product = (diagonal * values * wanted).sum(axis=0)
            losses.append(total - np.square(product) / np.maximum(power, 1e-30))
        loss = np.stack(losses)
        if self._per_channel:
            relative = loss / np.maximum(loss.min(axis=0), 1e-30)
            loss = relative + _COMMON_SHARE * relative.mean(axis=1, keepdims=True)
        else:
            loss = np.broadcast_to(loss.sum(axis=1, keepdims=True), loss.shape)
        return torch.tensor(SCALE_FACTORS)[torch.from_numpy(loss.argmin(axis=0))]

    def improve(self, coded: CodedLayer, damped: DampedMoments, pull: torch.Tensor) -> torch.Tensor:
        """Codes each column once more, given all others: the error of all rows together never grows.

        Args:
            coded: The layer; changed in place.
            damped: Moments of the layer's input.
            pull: (rows, columns) error times moments, see `nncf_mcq.weights.rounding.descend`.

        Returns:
            The pull that the new levels have.
        """
        moments = damped.matrices[0]
        columns = len(moments)
        diagonal = moments.diagonal()
        scale, weight = coded.scale, coded.scale.square().numpy()
        inverse = 1 / scale
        pull = pull.T.contiguous()
        order = self._compensation.order[0]
        for first in range(0, columns, _BLOCK):
            block = order[first : first + _BLOCK]
            local, products = pull[block], moments[block][:, block]
            steps = torch.zeros(len(block), len(scale))
            for position, column in enumerate(block.tolist()):
                if diagonal[column] <= 0:
                    continue
                old = torch.from_numpy(coded.integers[column]).to(torch.float32)
                wanted = local[position] / diagonal[column] * inverse + old
                new = self._code_column(coded, weight, column, wanted.numpy())
                step = steps[position] = (torch.from_numpy(new) - old) * scale
                local.addr_(products[:, position], step, alpha=-1)
            pull.addmm_(moments[:, block], steps, alpha=-1)
        return pull.T
