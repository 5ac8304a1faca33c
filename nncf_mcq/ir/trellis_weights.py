"""Trellis-coded weights as constants of their true bit-width, in a form that the CPU plugin runs on int8 kernels.

As all that `nncf_mcq.ir.packing` writes, this is folded into one int8 constant for each layer when a model is compiled.
Nodes take bytes in the .xml, so the layers of a model are decoded together, one stream behind the other. What levels,
branches, windows and indices are, `nncf_mcq.weights.trellis` says; of two weights in small models, of four in large
ones, see `nncf_mcq.ir.trellis_windows`::

    u2/u4 branches of 2/4 weights -> Convert -> their windows -> Gather(their subsets)
    u1/u2/u3/u4 indices of each bit-width -> Convert -> Add(offset) -> Concat
    Add of both -> Gather(int8 alphabets)
    parts, where there are several: Range(rows of 32) -> VariadicSplit -> Gather of these rows
    layers of a part whose blocks have as many rows: Reshape(all, rows of a block) -> Transpose -> VariadicSplit
    each layer: Reshape(its shape) -> Convert(f32) -> Multiply(scale)

A layer of many weights is a part by itself, as are many layers whose blocks have as many rows, and all others together:
VariadicSplit needs few nodes, but takes ten times as long as Gather of rows to cut something out.

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

from nncf_mcq.ir.packing import without_repeats
from nncf_mcq.ir.trellis_windows import LARGEST_ELEMENT, SHORTEST_GAP, Elements, decoded
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.trellis import Blocks, to_stream

PART_WEIGHTS = 1 << 18
"""From as many on something is a part: what it takes in the .xml is then less than 1 % of it."""

_ROW = 32
"""Of so many weights, or a multiple, are parts: as blocks mostly have as many rows, it is their row, too."""

assert _ROW % LARGEST_ELEMENT == 0

_DIMENSION_BYTES = 8
"""Of lengths and shapes, which are i64."""

_SINGLE_BYTES = 128
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
    streams = [_Stream(layer, name, entry) for name, (layer, entry) in coded.items()]
    runs = _runs(streams)
    values = decoded([(run.bits, run.levels) for run in runs])
    nodes: dict[str, ov.Node] = {}
    for part in _parts(values.output(0), runs):
        nodes |= _in_shapes(*part)
    return {stream.name: stream.dequantized(nodes[stream.name]) for stream in streams}


def more_bytes(layer: QuantizableLayer) -> int:
    """The most bytes in the .bin of the shapes and lengths that a trellis-coded layer brings.

    Args:
        layer: The layer.
    """
    rank, matrix, lengths = len(layer.weight_shape), 2, 3
    return _DIMENSION_BYTES * (rank + matrix + lengths)


def gap_bytes(layer: QuantizableLayer, bits: int) -> int:
    """The most bytes in the .bin that a trellis-coded layer takes beyond `bits` bits for each weight.

    Where it was measured at a smaller width: beyond what it took there, with the difference of both for `bits`, and
    with the length that it may need by itself.

    Args:
        layer: The layer.
        bits: Width.
    """
    return math.ceil(_Placing(layer).gap * bits / 8) + _BLOCK_BYTES + _DIMENSION_BYTES


def shared_bytes(layers: Sequence[QuantizableLayer], bits: Sequence[int]) -> int:
    """The most bytes in the .bin of what all trellis-coded layers share.

    Args:
        layers: All that may be trellis-coded.
        bits: Their bit-widths.
    """
    weights = sum(layer.weights + _Placing(layer).gap + _ROW for layer in layers)
    elements = Elements.of(weights)
    room = (elements.weights << elements.bits) + sum(2 << width for width in bits)
    if weights >= PART_WEIGHTS:
        # At worst each layer is a run: with zeros behind it, and with two more lengths.
        room += len(layers) * (2 * _DIMENSION_BYTES + math.ceil(_ROW * max(bits) / 8))
    return room + _SINGLE_BYTES + (1 + len(bits)) * _BLOCK_BYTES


@dataclass(frozen=True)
class _Placing:
    """How the weights of one layer get from their stream into their shape.

    Attributes:
        layer: The layer.
    """

    layer: QuantizableLayer

    @cached_property
    def blocks(self) -> Blocks:
        """How its rows lie in the stream."""
        return Blocks.of(self.layer.rows)

    @property
    def side_by_side(self) -> int:
        """Rows of a block where the layer is brought into its shape with others of as many; 0: by itself."""
        return 0 if self.layer.transposed else self.blocks.length

    @property
    def is_part(self) -> bool:
        """Whether it is a part by itself, whatever other layers there are."""
        return self.layer.weights >= PART_WEIGHTS and self.layer.weights % _ROW == 0 and not self.has_its_shape

    @property
    def has_its_shape(self) -> bool:
        """Whether all that is left to do is a reshape that the plugin takes for none.

        Something else must then be directly before the last Convert: what divides the values of several layers.
        """
        return self.layer.kind == "matmul" and self.blocks.count == 1

    @property
    def gap(self) -> int:
        """Zeros behind the stream, as few as there must be; where layers are brought into shape together whole rows.

        A row is of one block and column.
        """
        if self.is_part:
            return _ROW
        row = self.side_by_side or 1
        gaps = itertools.count(-(-SHORTEST_GAP // row) * row, row)
        return next(gap for gap in gaps if (self.layer.weights + gap) % LARGEST_ELEMENT == 0)

    def in_shape(self, stream: ov.Output) -> ov.Node:
        """The weights from their stream."""
        if not self.layer.transposed:
            return self.reshaped(_columns_last(stream, self.blocks.length))
        if self.blocks.count == 1:
            return self.reshaped(stream)
        by_block = opset.reshape(stream, _integers([self.blocks.count, -1]), False)
        return self.reshaped(_swapped(by_block.output(0)))

    def reshaped(self, values: ov.Output) -> ov.Node:
        """Weights that are in the order of their shape."""
        return opset.reshape(values, _integers(self.layer.weight_shape), False)


@dataclass(frozen=True)
class _Stream(_Placing):
    """The weights of one layer.

    Attributes:
        name: Of the layer.
        entry: Its weights.
    """

    name: str
    entry: QuantizedWeight

    @property
    def lengths(self) -> list[int]:
        """Numbers of weights and of zeros behind them."""
        return [self.layer.weights, self.gap]

    @property
    def levels(self) -> npt.NDArray[np.uint8]:
        """The levels in their order, with the zeros."""
        found: npt.NDArray[np.uint8] = np.zeros(sum(self.lengths), dtype=np.uint8)
        found[: self.layer.weights] = to_stream(self.entry.levels[0])
        return found

    def dequantized(self, integers: ov.Node) -> ov.Node:
        """Integers times the scales."""
        scale = without_repeats(self.entry.scale.reshape(self.layer.channel_shape()))
        return opset.multiply(opset.convert(integers, "f32"), opset.constant(scale, dtype=ov.Type.f32))


@dataclass(frozen=True)
class _Run:
    """Streams of a part that have the same bit-width, one behind the other.

    Attributes:
        part: Number of the part.
        streams: The streams, ordered by the rows of a block; one that is a part by itself has no others beside it.
        padding: Zeros behind the last gap.
    """

    part: int
    streams: list[_Stream]
    padding: int

    @property
    def bits(self) -> int:
        """Width."""
        return self.streams[0].entry.bits

    @property
    def lengths(self) -> list[int]:
        """Numbers of weights, with their gaps where they are needed to tell the streams apart, and of other zeros."""
        if self.streams[0].is_part:
            return self.streams[0].lengths
        return [sum(sum(stream.lengths) for stream in self.streams) + self.padding]

    @property
    def levels(self) -> npt.NDArray[np.uint8]:
        """The levels in their order, with the zeros."""
        return np.concatenate([*(stream.levels for stream in self.streams), np.zeros(self.padding, dtype=np.uint8)])


def _runs(streams: Sequence[_Stream]) -> list[_Run]:
    """Puts all streams into an order; those of the bit-width of most weights, which needs no offset, are first."""
    weights: dict[int, int] = {}
    together: dict[int, int] = {}
    for stream in streams:
        weights[stream.entry.bits] = weights.get(stream.entry.bits, 0) + stream.layer.weights
        if not stream.is_part:
            together[stream.side_by_side] = together.get(stream.side_by_side, 0) + stream.layer.weights
    many = [length for length, found in together.items() if length and length % _ROW == 0 and found >= PART_WEIGHTS]
    parts = [many.index(stream.side_by_side) if stream.side_by_side in many else len(many) for stream in streams]
    own = itertools.count(len(many) + 1)
    parts = [next(own) if stream.is_part else part for stream, part in zip(streams, parts, strict=True)]
    row = _ROW if len(set(parts)) > 1 else 1

    def place(item: tuple[int, _Stream]) -> tuple[int, int, int, int]:
        return -weights[item[1].entry.bits], item[1].entry.bits, item[0], item[1].side_by_side

    ordered = sorted(zip(parts, streams, strict=True), key=place)
    runs: list[_Run] = []
    for (_, _, part), group in itertools.groupby(ordered, key=lambda item: place(item)[:3]):
        found = [stream for _, stream in group]
        padding = -sum(sum(stream.lengths) for stream in found) % row
        runs.append(_Run(part, found, padding))
    return runs


def _parts(values: ov.Output, runs: Sequence[_Run]) -> list[tuple[ov.Output, list[_Run]]]:
    """The values of each part, and its runs.

    The numbers of the rows are what VariadicSplit divides here: they are as few as the values are many.

    Args:
        values: Of all runs.
        runs: All.
    """
    if len({run.part for run in runs}) == 1:
        return [(values, list(runs))]
    rows = opset.reshape(values, _integers([-1, _ROW]), False)
    count = sum(sum(run.lengths) for run in runs) // _ROW
    numbers = opset.range(*(opset.constant(np.int32(value)) for value in (0, count, 1)), output_type="i32")
    lengths = [length // _ROW for run in runs for length in run.lengths]
    axis = opset.constant(np.int64(0))
    outputs = opset.variadic_split(numbers, axis, _integers(lengths)).outputs()
    members: dict[int, tuple[list[ov.Output], list[_Run]]] = {}
    place = 0
    for run in runs:
        found, part = members.setdefault(run.part, ([], []))
        found.append(outputs[place])
        part.append(run)
        place += len(run.lengths)
    return [
        (opset.gather(rows, opset.concat(found, 0) if len(found) > 1 else found[0], axis).output(0), part)
        for found, part in members.values()
    ]


def _in_shapes(values: ov.Output, runs: Sequence[_Run]) -> dict[str, ov.Node]:
    """The integers of the layers of a part.

    Args:
        values: Of its runs; where a layer is a part by itself, without its gap.
        runs: Its runs.
    """
    first = runs[0].streams[0]
    if math.prod(values.get_shape()) == first.layer.weights:
        return {first.name: first.in_shape(values)}
    members: dict[int, list[_Stream]] = {}
    for run in runs:
        for stream in run.streams:
            members.setdefault(stream.side_by_side, []).append(stream)
    alone = {
        length for length, group in members.items() if not length or (len(group) == 1 and not group[0].has_its_shape)
    }
    if len(members) == 1 and not alone and not any(run.padding for run in runs):
        return _side_by_side([values], next(iter(members.values())))
    pieces, nodes = _pieces(values, runs, alone)
    for length, parts in pieces.items():
        nodes |= _side_by_side(parts, members[length])
    return nodes


def _pieces(
    values: ov.Output, runs: Sequence[_Run], alone: set[int]
) -> tuple[dict[int, list[ov.Output]], dict[str, ov.Node]]:
    """Parts of the values by the rows of a block, and the layers that are the only ones with as many or by themselves.

    Args:
        values: Of the runs.
        runs: The runs.
        alone: Numbers of rows of a block that only one layer has, or 0.
    """
    lengths: list[int] = []
    places: list[tuple[int, list[_Stream]]] = []
    for run in runs:
        for length, group in itertools.groupby(run.streams, key=lambda stream: stream.side_by_side):
            found = list(group)
            for part in [[stream] for stream in found] if length in alone else [found]:
                places.append((len(lengths), part))
                lengths += part[0].lengths if length in alone else [sum(sum(stream.lengths) for stream in part)]
        if run.padding:
            lengths.append(run.padding)
    flat = opset.reshape(values, _integers([-1]), False)
    outputs = opset.variadic_split(flat, opset.constant(np.int64(0)), _integers(lengths)).outputs()
    pieces: dict[int, list[ov.Output]] = {}
    nodes: dict[str, ov.Node] = {}
    for place, part in places:
        if part[0].side_by_side in alone:
            nodes[part[0].name] = part[0].in_shape(outputs[place])
        else:
            pieces.setdefault(part[0].side_by_side, []).append(outputs[place])
    return pieces, nodes


def _side_by_side(parts: Sequence[ov.Output], streams: Sequence[_Stream]) -> dict[str, ov.Node]:
    """The integers of layers whose blocks have as many rows.

    Args:
        parts: Their values.
        streams: The layers in the same order.
    """
    length = streams[0].side_by_side
    matrix = _columns_last(opset.concat(list(parts), 0).output(0) if len(parts) > 1 else parts[0], length)
    lengths = [size // length for stream in streams for size in stream.lengths]
    outputs = opset.variadic_split(matrix, opset.constant(np.int64(1)), _integers(lengths)).outputs()
    return {stream.name: stream.reshaped(part) for stream, part in zip(streams, outputs[::2], strict=True)}


def _columns_last(values: ov.Output, length: int) -> ov.Output:
    if list(values.get_shape())[1:] != [length]:
        values = opset.reshape(values, _integers([-1, length]), False).output(0)
    return _swapped(values)


def _swapped(matrix: ov.Output) -> ov.Output:
    return opset.transpose(matrix, _integers([1, 0])).output(0)


def _integers(values: Sequence[int]) -> ov.Node:
    return opset.constant(np.array(values, dtype=np.int64))
