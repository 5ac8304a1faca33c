"""The levels of trellis-coded weights: the sequences of least error, column by column."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nncf_mcq.weights.rounding import Compensation, DampedMoments
from nncf_mcq.weights.trellis import Blocks, alphabet, unit_scale
from nncf_mcq.weights.viterbi import TrellisDecoder

FloatArray = npt.NDArray[np.float32]
IntegerArray = npt.NDArray[np.integer]

_BLOCK = 64
"""Columns updated lazily together, as in `nncf_mcq.weights.rounding`."""

SCALE_FACTORS = (0.8, 0.9, 1.0, 1.12, 1.25, 1.45, 1.7, 2.0, 2.4)
"""Scales that are tried for each row, relative to the one for normally distributed weights of the row's deviation."""

_SCALE_COLUMNS = 256
_SCALE_SEQUENCES = 4096
"""Columns, and blocks of columns, at most that scales are chosen on."""

_SIDE_BY_SIDE = 1024
"""Sequences at a time, which a processor's cache has room for."""

_COMMON_SHARE = 0.5
"""Weight of the mean of all rows' relative errors beside a row's own when its scale is chosen: one row alone is few
weights to choose by."""


@dataclass
class _States:
    """The states between the columns of each block: each is settled by the column beside it that is searched first.

    Attributes:
        values: (columns + 1, widths, blocks); -1 where it is not settled. What is after a block's last column is before
            the next block's first one.
    """

    values: IntegerArray

    @classmethod
    def unsettled(cls, columns: int, widths: int, blocks: int) -> _States:
        values = np.full((columns + 1, widths, blocks), -1)
        values[0, :, 0] = 0
        return cls(values)

    def settle(self, column: int, start: IntegerArray, end: IntegerArray) -> None:
        values = self.values
        values[column], values[column + 1] = start, end
        if column == 0:
            values[-1, :, :-1] = start[:, 1:]
        if column == len(values) - 2:
            values[0, :, 1:] = end[:, :-1]


@dataclass
class CodedLayer:
    """The trellis-coded weights of a layer of one group at some bit-widths.

    Attributes:
        levels: (columns, rows of a block, widths, blocks) levels.
        integers: Of the same shape, the values that they stand for.
        scale: (widths, rows) float32.
        states: Of the trellis between columns.
    """

    levels: npt.NDArray[np.uint8]
    integers: npt.NDArray[np.int8]
    scale: torch.Tensor
    states: _States

    def matrices(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Levels or integers as matrices (widths, rows, columns)."""
        return values.transpose(2, 1, 3, 0).reshape(*self.scale.shape, len(values))

    @property
    def values(self) -> torch.Tensor:
        """(widths, 1, rows, columns) weights, as of candidates and one group."""
        integers = torch.from_numpy(self.matrices(self.integers)).to(torch.float32)
        return (integers * self.scale[..., None])[:, None]


class TrellisSearch:
    """Codes the weights of a layer at some bit-widths.

    They are searched side by side: of a single one the steps of a search would take most of the time.

    Args:
        weights: (rows, columns) the weights to come close to.
        bits: Widths.
        compensation: Factors of the moments of the layer's input, of one group.
        per_channel: One scale per row rather than one for all.
    """

    def __init__(
        self, weights: torch.Tensor, bits: Sequence[int], compensation: Compensation, per_channel: bool
    ) -> None:
        self._weights = weights
        self._bits = tuple(bits)
        self._compensation = compensation
        self._order = compensation.order[0]
        blocks = Blocks.of(len(weights))
        self._shape = blocks.length, len(self._bits), blocks.count
        self._decoder = TrellisDecoder(self._bits)
        self._per_channel = per_channel

    def code(self) -> CodedLayer:
        """Column after column, the most important first; each makes good for the errors of those coded before.

        Source: Frantar et al., "GPTQ", ICLR 2023; with a trellis along the rows: Tseng et al., "QTIP", NeurIPS 2024.
        """
        deviation = self._weights.square().mean(dim=1 if self._per_channel else (0, 1)).sqrt().clamp_min(1e-12)
        units = torch.tensor([unit_scale(bits) for bits in self._bits])
        scale = units[:, None] * deviation.expand(len(self._weights))
        # Without the trellis it takes no time to see what columns are to make good for, which the scales depend on.
        means = [alphabet(bits).astype(np.float32).reshape(-1, 2).mean(axis=1) for bits in self._bits]
        pairs = [(values, (values[1:] + values[:-1]) / 2) for values in means]
        wanted = self._round(self._spread(scale), functools.partial(self._nearest_pairs, pairs))
        scale = scale * self._best_factors(wanted.numpy(), self._spread(scale).numpy())
        columns, (_, widths, blocks) = self._weights.shape[1], self._shape
        levels = np.empty((columns, *self._shape), dtype=np.uint8)
        coded = CodedLayer(
            levels, np.empty(levels.shape, dtype=np.int8), scale, _States.unsettled(columns, widths, blocks)
        )
        spread = self._spread(scale)
        self._round(spread, functools.partial(self._code_column, coded, spread.square().numpy()))
        return coded

    def improve(self, coded: CodedLayer, damped: DampedMoments, pull: torch.Tensor) -> torch.Tensor:
        """Codes each column once more, given all others: the error of all rows together never grows.

        Args:
            coded: The layer; changed in place.
            damped: Moments of the layer's input.
            pull: (widths, rows, columns) error times moments, see `nncf_mcq.weights.rounding.descend`.

        Returns:
            The pull that the new levels have.
        """
        moments = damped.matrices[0]
        columns = len(moments)
        diagonal = moments.diagonal()
        scale = self._spread(coded.scale)
        weight, inverse = scale.square().numpy(), 1 / scale
        pull = self._spread(pull).T.contiguous()
        for first in range(0, columns, _BLOCK):
            block = self._order[first : first + _BLOCK]
            local, products = pull[block], moments[block][:, block]
            steps = torch.zeros(len(block), len(scale))
            for position, column in enumerate(block.tolist()):
                if diagonal[column] <= 0:
                    continue
                old = torch.from_numpy(coded.integers[column].reshape(-1)).to(torch.float32)
                wanted = local[position] / diagonal[column] * inverse + old
                new = self._code_column(coded, weight, column, wanted.numpy())
                step = steps[position] = (torch.from_numpy(new) - old) * scale
                local.addr_(products[:, position], step, alpha=-1)
            pull.addmm_(moments[:, block], steps, alpha=-1)
        length, widths, blocks = self._shape
        return pull.reshape(columns, *self._shape).permute(2, 1, 3, 0).reshape(widths, length * blocks, columns)

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """Values (widths or 1, rows, ...) as (rows of a block * widths * blocks, ...), the order of all work."""
        length, widths, blocks = self._shape
        more = values.shape[2:]
        return (
            values.reshape(-1, length, blocks, *more)
            .expand(widths, length, blocks, *more)
            .transpose(0, 1)
            .reshape(-1, *more)
        )

    def _round(self, scale: torch.Tensor, choose: Callable[[int, FloatArray], npt.NDArray[np.number]]) -> torch.Tensor:
        """Rounds column after column.

        Args:
            scale: Of the weights, spread.
            choose: Whole numbers for a column, given what they should be.

        Returns:
            For each column what it should have been, times the scale, in the order that they were rounded in.
        """
        columns = self._weights.shape[1]
        factor = self._compensation.factor[0]
        ordered = self._spread(self._weights[None]).T[self._order].contiguous()
        work, inverse = ordered.clone(), 1 / scale
        order = self._order.tolist()
        for first in range(0, columns, _BLOCK):
            last = min(first + _BLOCK, columns)
            errors = ordered[first:last].clone()
            for position in range(first, last):
                chosen = choose(order[position], (work[position] * inverse).numpy())
                error = errors[position - first].sub_(torch.from_numpy(chosen) * scale)
                if position + 1 < last:
                    work[position + 1 : last].addr_(factor[position, position + 1 : last], error)
            if last < columns:
                work[last:].addmm_(factor[first:last, last:].T, errors)
        return work

    def _nearest_pairs(self, pairs: Sequence[tuple[FloatArray, FloatArray]], _: int, wanted: FloatArray) -> FloatArray:
        """The nearest means of two neighbours of the alphabets of each width, given with the middles between them."""
        found, values = np.empty(self._shape, dtype=np.float32), wanted.reshape(self._shape)
        for index, (means, middles) in enumerate(pairs):
            found[:, index] = means[np.searchsorted(middles, values[:, index])]
        return found.reshape(-1)

    def _code_column(
        self, coded: CodedLayer, weight: FloatArray, column: int, wanted: FloatArray
    ) -> npt.NDArray[np.int8]:
        """The values of one column; it has them then, and the states beside it are settled."""
        states = coded.states
        levels, values, start, end = self._decoder.find(
            wanted.reshape(self._shape), weight.reshape(self._shape), states.values[column], states.values[column + 1]
        )
        states.settle(column, start, end)
        coded.levels[column], coded.integers[column] = levels, values
        return values.reshape(-1)

    def _best_factors(self, wanted: FloatArray, scale: FloatArray) -> torch.Tensor:
        """The factors on the scale (widths, rows) that leave the least error of some of the columns wanted.

        Args:
            wanted: (columns, spread).
            scale: Spread.
        """
        columns, (length, widths, blocks) = len(wanted), self._shape
        most = max(min(_SCALE_COLUMNS, _SCALE_SEQUENCES // blocks, columns), 1)
        chosen = np.unique(np.linspace(0, columns - 1, most).round().astype(np.int64))
        diagonal = self._compensation.diagonal[0].numpy()[chosen]
        # (length, widths, columns, blocks): all sequences side by side.
        wanted = np.ascontiguousarray(wanted[chosen].reshape(-1, *self._shape).transpose(1, 2, 0, 3))
        together = max(_SIDE_BY_SIDE // (widths * blocks), 1)
        losses = []
        for factor in SCALE_FACTORS:
            steps = factor * scale.reshape(length, widths, 1, blocks)
            total, power, product = np.zeros((3, *self._shape), dtype=np.float32)
            for first in range(0, len(chosen), together):
                share = diagonal[first : first + together, None]
                part = wanted[:, :, first : first + together]
                free = np.full((widths, len(share) * blocks), -1)
                shape = (length, *free.shape)
                weight = np.broadcast_to(share * np.square(steps), part.shape).reshape(shape)
                _, found, _, _ = self._decoder.find((part / steps).reshape(shape), weight, free, free)
                values = found.reshape(part.shape) * steps
                # With the gain that the scale will get.
                total += (share * np.square(part)).sum(axis=2)
                power += (share * np.square(values)).sum(axis=2)
                product += (share * values * part).sum(axis=2)
            losses.append(total - np.square(product) / np.maximum(power, 1e-30))
        loss = np.stack(losses).transpose(0, 2, 1, 3).reshape(len(SCALE_FACTORS), widths, -1)
        if self._per_channel:
            relative = loss / np.maximum(loss.min(axis=0), 1e-30)
            loss = relative + _COMMON_SHARE * relative.mean(axis=2, keepdims=True)
        else:
            loss = np.broadcast_to(loss.sum(axis=2, keepdims=True), loss.shape)
        return torch.tensor(SCALE_FACTORS)[torch.from_numpy(loss.argmin(axis=0))]
