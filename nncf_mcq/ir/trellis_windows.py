"""The values of trellis-coded streams, computed from constants of their true bit-width.

This is what `nncf_mcq.ir.trellis_weights` writes before layers are told apart. The branches of a few weights are stored
as one element, so that windows are put together and looked up for all of them at once: by fours in large models, which
are compiled faster so; by twos in small ones, where the larger table would weigh more than the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.weights.trellis import MEMORY, SUBSETS, alphabet, subset_of_window

IntegerArray = npt.NDArray[np.integer]

INDEX_TYPES: dict[int, ov.Type] = {2: ov.Type.u1, 3: ov.Type.u2, 4: ov.Type.u3, 5: ov.Type.u4}
"""Of the indices of each bit-width."""

MANY_WEIGHTS = 1 << 19
"""From as many on branches are stored by fours: the larger table is then less than 1 % of the smallest model."""


@dataclass(frozen=True)
class Elements:
    """How the branches of a few weights are stored together, the earlier ones in the upper bits.

    Attributes:
        weights: How many.
        seen: Elements that are put together; the windows of all weights of the last one are in them.
        bits: The lowest ones of these that are looked up in a table.
        dtype: Of an element.
    """

    weights: int
    seen: int
    bits: int
    dtype: ov.Type

    @classmethod
    def of(cls, weights: int) -> Elements:
        """The ones for a number of weights, with their gaps."""
        return QUADS if weights >= MANY_WEIGHTS else PAIRS

    @property
    def copies(self) -> int:
        """Of the table, one behind the other, so that the bits above those that count need not be removed."""
        return 1 << self.weights * self.seen - self.bits

    @property
    def shifts(self) -> npt.NDArray[np.int64]:
        """The bit that the branch of each weight is in."""
        return np.arange(self.weights)[::-1]


PAIRS = Elements(2, 4, 8, ov.Type.u2)
QUADS = Elements(4, 3, 9, ov.Type.u4)

LARGEST_ELEMENT = max(PAIRS.weights, QUADS.weights)
"""Of this many weights, or a multiple, are all streams with their gaps."""

SHORTEST_GAP = max(form.weights * (form.seen - 1) for form in (PAIRS, QUADS))
"""Zeros behind a stream: no element of branches that is put together with one of the next stream has others."""

assert all(MEMORY + form.weights <= form.bits for form in (PAIRS, QUADS))


@dataclass(frozen=True)
class Table:
    """The alphabets of some bit-widths in one table: of each subset the values of one bit-width after the other.

    Attributes:
        bits: The bit-widths.
    """

    bits: tuple[int, ...]

    @property
    def values(self) -> npt.NDArray[np.int8]:
        """(4 * values of a subset,) the table."""
        by_subset = [alphabet(width).reshape(-1, SUBSETS).T for width in self.bits]
        return np.concatenate(by_subset, axis=1).reshape(-1)

    def starts(self, elements: Elements) -> npt.NDArray[np.uint8]:
        """(2^bits, weights of an element) where their subsets start in the table, for their and earlier branches."""
        windows = np.arange(1 << elements.bits)[:, None] >> elements.shifts & (2 << MEMORY) - 1
        found: npt.NDArray[np.uint8] = (subset_of_window()[windows] * (len(self.values) // SUBSETS)).astype(np.uint8)
        return found


def decoded(levels: Sequence[tuple[int, npt.NDArray[np.uint8]]]) -> ov.Node:
    """Builds the integers that levels stand for.

    Args:
        levels: Bit-widths and levels of streams with their gaps; one behind the other, those of a bit-width together.

    Returns:
        A node of shape (all / weights of an element, weights of an element) and type i8.
    """
    by_bits: dict[int, list[npt.NDArray[np.uint8]]] = {}
    for bits, part in levels:
        by_bits.setdefault(bits, []).append(part)
    elements, table = Elements.of(sum(len(part) for _, part in levels)), Table(tuple(by_bits))
    offset, indices = 0, []
    for bits, parts in by_bits.items():
        stored = np.concatenate(parts).reshape(-1, elements.weights) >> 1
        found = opset.convert(opset.constant(stored, dtype=INDEX_TYPES[bits]), "u8")
        indices.append(opset.add(found, opset.constant(np.uint8(offset))) if offset else found)
        offset += 1 << bits - 1
    first_axis = opset.constant(np.int64(0))
    starts: ov.Node = opset.constant(table.starts(elements))
    if elements.copies > 1:
        starts = opset.tile(starts, opset.constant(np.array([elements.copies, 1])))
    branches = np.concatenate([part for _, part in levels]) & 1
    subsets = opset.gather(starts, _windows(branches, elements), first_axis)
    symbols = opset.add(subsets, opset.concat(indices, 0) if len(indices) > 1 else indices[0])
    return opset.gather(opset.constant(table.values), opset.convert(symbols, "i32"), first_axis)


def _windows(branches: IntegerArray, elements: Elements) -> ov.Node:
    """Of each element its branches and those of the ones before, newest in the lowest bit.

    Args:
        branches: Of all weights; the last ones are a gap.
        elements: How they are stored.
    """
    stored = branches.reshape(-1, elements.weights)[: 1 - elements.seen]
    packed = (stored << elements.shifts).sum(axis=1).astype(np.uint8)
    single: ov.Node = opset.convert(opset.constant(packed, dtype=elements.dtype), "i32")
    zero = opset.constant(np.zeros(1, dtype=np.int32))
    found, seen = single, 1
    while seen < elements.seen:
        more = min(seen, elements.seen - seen)
        earlier = opset.concat([*[zero] * seen, found if more == seen else single], 0)
        raised = opset.multiply(earlier, opset.constant(np.int32(1 << elements.weights * seen)))
        found = opset.add(opset.concat([found, *[zero] * more], 0), raised)
        seen += more
    return found
