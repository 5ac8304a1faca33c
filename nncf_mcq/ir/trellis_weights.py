"""Trellis-coded weights as constants of their true bit-width, in a form that the CPU plugin runs on int8 kernels.

As all that `nncf_mcq.ir.packing` writes, this is folded into one int8 constant for each layer when a model is compiled.
Nodes take bytes in the .xml, so the layers of a model are decoded together, one stream behind the other. What levels,
branches, windows and indices are, `nncf_mcq.weights.trellis` says::

    u2 branches of two weights -> Convert -> windows of two weights -> Gather(subsets of both)
    u1/u2/u3/u4 indices of each bit-width -> Convert -> Add(offset) -> Concat
    Add of both -> Gather(int8 alphabets)
    layers whose blocks have as many rows: Reshape(all, rows of a block) -> Transpose -> VariadicSplit
    each layer: Reshape(its shape) -> ShuffleChannels(rows of a block) -> Convert(f32) -> Multiply(scale)

Behind each stream there is a gap of zeros, so that the next one starts with an empty window. What the plugin is
particular about:

* A Multiply of bytes and a Gather by bytes are left to run time, so both are done in i32.
* A Transpose directly before the last Convert costs the int8 kernel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.trellis import MEMORY, SUBSETS, Blocks, alphabet, subset_of_window, to_stream

_PAIR = 2
"""Weights of which one element holds the branches, the earlier in the upper bit."""

_SEEN = 4
"""Elements of branches that are put together; the windows of both weights of the last one are in them."""

_GAP = _PAIR * (_SEEN - 1)
"""The fewest zeros between two streams."""

assert MEMORY + _PAIR <= _PAIR * _SEEN

_INDEX_TYPES: dict[int, ov.Type] = {2: ov.Type.u1, 3: ov.Type.u2, 4: ov.Type.u3, 5: ov.Type.u4}

_DIMENSION_BYTES = 8
"""Of lengths and shapes, which are i64."""

_SINGLE_BYTES = 64
"""At least what the constants of one or two numbers take that all layers share."""

_BLOCK_BYTES = 3
"""By which packed constants are rounded up, at most: those of u3."""


def trellis_weights(coded: Mapping[str, tuple[QuantizableLayer, QuantizedWeight]]) -> dict[str, ov.Node]:
    """Builds the weights of all trellis-coded layers of a model.

    Args:
        coded: A layer and its weights, by a name.

    Returns:
        By the same names, nodes of element type f32 in the shape of the layer's weights.
    """
    if not coded:
        return {}
    streams = [_Stream(name, layer, entry) for name, (layer, entry) in coded.items()]
    streams.sort(key=lambda stream: (stream.entry.bits, stream.side_by_side))
    values = _values(streams)
    members: dict[int, list[_Stream]] = {}
    for stream in streams:
        members.setdefault(stream.side_by_side, []).append(stream)
    if len(members) == 1 and len(streams) > 1 and streams[0].side_by_side:
        pieces = {streams[0].side_by_side: [values.output(0)]}
        nodes: dict[str, ov.Node] = {}
    else:
        alone = {length for length, group in members.items() if len(group) == 1 or not length}
        pieces, nodes = _pieces(values, streams, alone)
    for length, parts in pieces.items():
        nodes |= _side_by_side(parts, members[length])
    return {stream.name: stream.dequantized(nodes[stream.name]) for stream in streams}


def more_bytes(layer: QuantizableLayer) -> int:
    """The most bytes in the .bin of the shapes and lengths that a trellis-coded layer brings.

    Args:
        layer: The layer.
    """
    rank = len(layer.weight_shape)
    shapes = sum(map(len, _split_shape(layer))) if layer.transposed else 2
    lengths = 3
    return _DIMENSION_BYTES * (rank + shapes + lengths)


def gap_bytes(layer: QuantizableLayer, bits: int) -> int:
    """The most bytes in the .bin that a trellis-coded layer takes beyond `bits` bits for each weight.

    Where it was measured at a smaller width: beyond what it took there, with the difference of both for `bits`, and
    with the length that it may need by itself.

    Args:
        layer: The layer.
        bits: Width.
    """
    return math.ceil(_gap(layer) * bits / 8) + _BLOCK_BYTES + _DIMENSION_BYTES


def shared_bytes(bits: Sequence[int]) -> int:
    """The most bytes in the .bin of what all trellis-coded layers share.

    Args:
        bits: Their bit-widths.
    """
    tables = (_PAIR << _PAIR * _SEEN) + sum(2 << width for width in bits)
    return tables + _SINGLE_BYTES + (1 + len(bits)) * _BLOCK_BYTES


@dataclass(frozen=True)
class _Stream:
    """The weights of one layer.

    Attributes:
        name: Of the layer.
        layer: The layer.
        entry: Its weights.
    """

    name: str
    layer: QuantizableLayer
    entry: QuantizedWeight

    @cached_property
    def side_by_side(self) -> int:
        """Rows of a block where the layer is brought into its shape with others of as many; 0: by itself."""
        return 0 if self.layer.transposed else Blocks.of(self.layer.rows).length

    @property
    def lengths(self) -> list[int]:
        """Numbers of weights and of zeros behind them."""
        return [self.layer.weights, _gap(self.layer)]

    @property
    def levels(self) -> npt.NDArray[np.uint8]:
        """The levels in their order, with the zeros."""
        found: npt.NDArray[np.uint8] = np.zeros(sum(self.lengths), dtype=np.uint8)
        found[: self.layer.weights] = to_stream(self.entry.levels[0])
        return found

    def in_shape(self, columns_last: ov.Output | ov.Node) -> ov.Node:
        """Weights that lie row of a block by row of a block, in each block by block, in each column by column."""
        found = opset.reshape(columns_last, _integers(self.layer.weight_shape), False)
        # The reshape of a matrix that has its shape would leave the transpose directly before the last Convert.
        if self.side_by_side == self.layer.rows and self.layer.kind != "matmul":
            return found
        return opset.shuffle_channels(found, self.layer.channel_axes[-1], self.side_by_side)

    def transposed_in_shape(self, stream: ov.Output) -> ov.Node:
        """Weights of a layer whose inputs come before its outputs, from their stream."""
        split, order = _split_shape(self.layer)
        axes = opset.transpose(opset.reshape(stream, _integers(split), False), _integers(order))
        return opset.reshape(axes, _integers(self.layer.weight_shape), False)

    def dequantized(self, integers: ov.Node) -> ov.Node:
        """Integers times the scales."""
        scale = self.entry.scale.reshape(self.layer.channel_shape()).astype(np.float32)
        if np.all(scale == scale.flat[0]):
            scale = scale.reshape(-1)[:1].reshape(())
        return opset.multiply(opset.convert(integers, "f32"), opset.constant(scale, dtype=ov.Type.f32))


def _split_shape(layer: QuantizableLayer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks, columns and rows of a block; and the order in which the columns come first."""
    blocks = Blocks.of(layer.rows)
    return (blocks.count, layer.columns, blocks.length), (1, 0, 2)


def _gap(layer: QuantizableLayer) -> int:
    """Zeros behind a stream, as few as make its length even; of layers that are brought into shape together whole rows.

    A row is of one block and column.
    """
    row = 1 if layer.transposed else Blocks.of(layer.rows).length
    gap = -(-_GAP // row) * row
    return gap if (layer.weights + gap) % _PAIR == 0 else gap + row


def _pieces(
    values: ov.Node, streams: Sequence[_Stream], alone: set[int]
) -> tuple[dict[int, list[ov.Output]], dict[str, ov.Node]]:
    """Parts of the values by the rows of a block, and the layers that are the only ones with as many or by themselves.

    Args:
        values: In the order of the streams.
        streams: All.
        alone: Numbers of rows of a block that only one layer has, or 0.
    """
    lengths: list[int] = []
    places: list[tuple[int, list[_Stream]]] = []
    for (_, length), group in itertools.groupby(streams, key=lambda item: (item.entry.bits, item.side_by_side)):
        found = list(group)
        for part in [[stream] for stream in found] if length in alone else [found]:
            places.append((len(lengths), part))
            lengths += part[0].lengths if length in alone else [sum(sum(stream.lengths) for stream in part)]
    flat = opset.reshape(values, _integers([-1]), False)
    outputs = opset.variadic_split(flat, opset.constant(np.int64(0)), _integers(lengths)).outputs()
    pieces: dict[int, list[ov.Output]] = {}
    nodes: dict[str, ov.Node] = {}
    for place, part in places:
        length = part[0].side_by_side
        if not length:
            nodes[part[0].name] = part[0].transposed_in_shape(outputs[place])
        elif length in alone:
            nodes[part[0].name] = part[0].in_shape(_columns_last(outputs[place], length))
        else:
            pieces.setdefault(length, []).append(outputs[place])
    return pieces, nodes


def _side_by_side(parts: Sequence[ov.Output], streams: Sequence[_Stream]) -> dict[str, ov.Node]:
    """The integers of layers whose blocks have as many rows.

    Args:
        parts: Their values.
        streams: The layers in the same order.
    """
    length = streams[0].side_by_side
    matrix = _columns_last(opset.concat(list(parts), 0) if len(parts) > 1 else parts[0], length)
    lengths = [size // length for stream in streams for size in stream.lengths]
    outputs = opset.variadic_split(matrix, opset.constant(np.int64(1)), _integers(lengths)).outputs()
    return {stream.name: stream.in_shape(part) for stream, part in zip(streams, outputs[::2], strict=True)}


def _columns_last(values: ov.Output | ov.Node, length: int) -> ov.Node:
    return opset.transpose(opset.reshape(values, _integers([-1, length]), False), _integers([1, 0]))


def _values(streams: Sequence[_Stream]) -> ov.Node:
    """(all / 2, 2) the integers of all streams."""
    levels = [stream.levels for stream in streams]
    by_bits: dict[int, list[npt.NDArray[np.uint8]]] = {}
    for stream, part in zip(streams, levels, strict=True):
        by_bits.setdefault(stream.entry.bits, []).append(part)
    table, offset, indices = _Table(tuple(by_bits)), 0, []
    for bits, parts in by_bits.items():
        stored = np.concatenate(parts).reshape(-1, _PAIR) >> 1
        found = opset.convert(opset.constant(stored, dtype=_INDEX_TYPES[bits]), "u8")
        indices.append(opset.add(found, opset.constant(np.uint8(offset))) if offset else found)
        offset += 1 << bits - 1
    first_axis = opset.constant(np.int64(0))
    starts = opset.gather(opset.constant(table.starts), _windows(np.concatenate(levels) & 1), first_axis)
    symbols = opset.add(starts, opset.concat(indices, 0) if len(indices) > 1 else indices[0])
    return opset.gather(opset.constant(table.values), opset.convert(symbols, "i32"), first_axis)


def _windows(branches: npt.NDArray[np.integer]) -> ov.Node:
    """Of each two weights their branches and those of the six weights before them, newest in the lowest bit.

    Args:
        branches: Of an even number of weights; the last ones are a gap.
    """
    stored = branches.reshape(-1, _PAIR)[: 1 - _SEEN]
    both = (2 * stored[:, 0] + stored[:, 1]).astype(np.uint8)
    found: ov.Node = opset.convert(opset.constant(both, dtype=ov.Type.u2), "i32")
    zero = opset.constant(np.zeros(1, dtype=np.int32))
    for shift in (1, 2):
        earlier = opset.concat([*[zero] * shift, found], 0)
        raised = opset.multiply(earlier, opset.constant(np.int32(1 << _PAIR * shift)))
        found = opset.add(opset.concat([found, *[zero] * shift], 0), raised)
    return found


@dataclass(frozen=True)
class _Table:
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

    @property
    def starts(self) -> npt.NDArray[np.uint8]:
        """(2^8, 2) where the subsets of two weights start in the table, for the branches of these and earlier ones."""
        windows = np.arange(1 << _PAIR * _SEEN)[:, None] >> np.array([1, 0]) & (2 << MEMORY) - 1
        found: npt.NDArray[np.uint8] = (subset_of_window()[windows] * (len(self.values) // SUBSETS)).astype(np.uint8)
        return found


def _integers(values: Sequence[int]) -> ov.Node:
    return opset.constant(np.array(values, dtype=np.int64))
