"""Reads the levels of trellis-coded weights back from what `nncf_mcq.ir.trellis_weights` has built."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov

_DECODING = ("Gather", "Convert", "Add")
"""From the values up to the sum of subsets and indices, and the input port of each that leads there."""

_PLACING = frozenset({"Reshape", "Transpose", "ShuffleChannels", "VariadicSplit", "Concat"})


@dataclass(frozen=True)
class CodedLevels:
    """The levels of a layer.

    Attributes:
        levels: In the weight's shape.
        bits: Width.
        row_axis: Axis of the weight's shape that the rows of the matrix are on.
    """

    levels: npt.NDArray[np.uint8]
    bits: int
    row_axis: int


def read_coded(integers: ov.Output) -> CodedLevels | None:
    """Reads the levels of a layer back, also from a model that was saved and read.

    Args:
        integers: What is converted to f32.

    Returns:
        None where it has another form.
    """
    if integers.get_node().get_type_name() not in _PLACING:
        return None
    node = integers.get_node()
    while node.get_type_name() in _PLACING:
        node = node.input_value(0).get_node()
    symbols = node
    for kind, port in zip(_DECODING, (1, 0, None), strict=True):
        if symbols.get_type_name() != kind:
            return None
        symbols = symbols if port is None else symbols.input_value(port).get_node()
    places = _places(integers, node)
    start = int(places.min())
    # The second weight of a stream is in the first column of the second row.
    (row_axis,) = np.flatnonzero(np.argwhere(places == start + 1)[0])
    subsets, indices = (value.get_node() for value in symbols.input_values())
    both = _elements(_first_constant(subsets.input_value(1).get_node()))
    branches = both[places >> 1] >> (1 - (places & 1)) & 1
    parts = [value.get_node() for value in indices.input_values()] if indices.get_type_name() == "Concat" else [indices]
    for constant in map(_first_constant, parts):
        count = math.prod(constant.get_output_shape(0))
        if start < count:
            found = 2 * _elements(constant).reshape(-1)[places - places.min() + start] + branches
            return CodedLevels(found.astype(np.uint8), constant.get_element_type().get_bitwidth() + 1, int(row_axis))
        start -= count
    return None


def _places(value: ov.Output, values: ov.Node) -> npt.NDArray[np.int64]:
    """Where in the stream of all layers the elements of a value are from.

    Args:
        value: Computed by moving elements.
        values: The operation that has them in the order of the stream.
    """
    node = value.get_node()
    shape = tuple(node.get_output_shape(value.get_index()))
    kind = node.get_type_name()
    if kind not in _PLACING:
        assert node.get_name() == values.get_name()
        return np.arange(math.prod(shape)).reshape(shape)
    if kind == "Concat":
        return np.concatenate([_places(part, values) for part in node.input_values()], node.get_attributes()["axis"])
    found = _places(node.input_value(0), values)
    if kind == "Reshape":
        return found.reshape(shape)
    if kind == "ShuffleChannels":
        attributes = node.get_attributes()
        axis, group = attributes["axis"], attributes["group"]
        split = found.reshape(*shape[:axis], group, -1, *shape[axis + 1 :])
        return split.swapaxes(axis, axis + 1).reshape(shape)
    operand = node.input_value(1).get_node().get_data()
    if kind == "Transpose":
        return found.transpose(operand)
    lengths = node.input_value(2).get_node().get_data()
    start = int(lengths[: value.get_index()].sum())
    return found.take(np.arange(start, start + int(lengths[value.get_index()])), int(operand))


def _first_constant(node: ov.Node) -> ov.Node:
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node


def _elements(constant: ov.Node) -> npt.NDArray[np.uint8]:
    # Of a type of one byte it would be the packed bytes.
    found: npt.NDArray[np.uint8] = constant.get_data(dtype=np.int32).astype(np.uint8)
    return found
