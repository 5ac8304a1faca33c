"""Reads the levels of trellis-coded weights back from what `nncf_mcq.ir.trellis_weights` has built."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_mcq.ir.trellis_windows import INDEX_TYPES, PAIRS, QUADS, Table
from nncf_mcq.weights.trellis import to_stream


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


_PLACING = ("Reshape", "Transpose", "VariadicSplit", "Concat", "Gather")
"""Operations that only move elements, the last one where it takes rows."""


class _OtherFormError(Exception):
    """What is read is not what is written."""


def read_coded(integers: ov.Output) -> CodedLevels | None:
    """Reads the levels of a layer back, also from a model that was saved and read.

    Args:
        integers: What is converted to f32.

    Returns:
        None where it has another form.
    """
    try:
        return _read(integers)
    except _OtherFormError:
        return None


def _read(integers: ov.Output) -> CodedLevels:
    values = integers.get_node()
    while values.get_type_name() in _PLACING and _input(values, 0).get_type_name() != "Constant":
        values = _input(values, 0)
    symbols = _of_kind(_input(_of_kind(_input(_of_kind(values, "Gather"), 1), "Convert"), 0), "Add")
    subsets, indices = _of_kind(_input(symbols, 0), "Gather"), _input(symbols, 1)
    branches = _first_constant(_input(subsets, 1))
    parts = [value.get_node() for value in indices.input_values()] if indices.get_type_name() == "Concat" else [indices]
    coded = [_first_constant(part) for part in parts]
    widths = [bits for part in coded for bits, dtype in INDEX_TYPES.items() if dtype == part.get_element_type()]
    elements = next((form for form in (PAIRS, QUADS) if form.dtype == branches.get_element_type()), None)
    if elements is None or len(widths) != len(coded):
        raise _OtherFormError
    table = Table(tuple(widths))
    _check_equal(_first_constant(_input(subsets, 0)), table.starts(elements))
    _check_equal(_input(values, 0), table.values)

    places = _places(integers, values)
    if not places.size or places.min() < 0:
        raise _OtherFormError
    start, row_axis = int(places.min()), _row_axis(places)
    stored = _elements(branches)
    if int(places.max()) >= elements.weights * len(stored):
        raise _OtherFormError
    found = stored[places // elements.weights] >> elements.shifts[places % elements.weights] & 1
    for bits, constant in zip(widths, coded, strict=True):
        count = math.prod(constant.get_output_shape(0))
        if start < count:
            if start + places.size > count:
                raise _OtherFormError
            levels = 2 * _elements(constant)[places - int(places.min()) + start] + found
            return CodedLevels(levels.astype(np.uint8), bits, row_axis)
        start -= count
    raise _OtherFormError


def _row_axis(places: npt.NDArray[np.int64]) -> int:
    """The axis of the rows, where the elements are those of one stream in its order."""
    start = int(places.min())
    # The second weight of a stream is in the first column.
    axes = np.unique(np.nonzero(np.argwhere(places == start + 1))[1])
    if len(axes) != 1:
        raise _OtherFormError
    rows_first = np.moveaxis(places, axes[0], 0)
    if not np.array_equal(to_stream(rows_first.reshape(len(rows_first), -1)), np.arange(start, start + places.size)):
        raise _OtherFormError
    return int(axes[0])


def _places(value: ov.Output, values: ov.Node) -> npt.NDArray[np.int64]:
    """Where in the stream of all layers the elements of a value are from.

    Args:
        value: Computed by moving elements.
        values: The operation that has them in the order of the stream.
    """
    node = value.get_node()
    if not all(output.get_partial_shape().is_static for output in node.outputs()):
        raise _OtherFormError
    shape, kind = tuple(value.get_shape()), node.get_type_name()
    if node.get_name() == values.get_name():
        return np.arange(math.prod(shape)).reshape(shape)
    if kind == "Gather":
        # Of many millions only these are looked at.
        source = _input(_of_kind(_input(node, 0), "Reshape"), 0)
        if source.get_name() != values.get_name() or len(shape) != 2 or _data(_input(node, 2)).any():
            raise _OtherFormError
        rows = _places(node.input_value(1), values) * shape[1]
        found: npt.NDArray[np.int64] = rows[:, None] + np.arange(shape[1])
        return found
    if kind == "Range":
        return np.arange(*(int(_data(_input(node, port))) for port in range(3)))
    if kind not in _PLACING:
        raise _OtherFormError
    if kind == "Concat":
        return np.concatenate([_places(part, values) for part in node.input_values()], node.get_attributes()["axis"])
    found = _places(node.input_value(0), values)
    if kind == "Reshape":
        return found.reshape(shape)
    if kind == "Transpose":
        return found.transpose(_data(_input(node, 1)).tolist() or None)
    axis = int(_data(_input(node, 1)))
    lengths = [output.get_shape()[axis] for output in node.outputs()]
    start = sum(lengths[: value.get_index()])
    return found.take(np.arange(start, start + lengths[value.get_index()]), axis)


def _of_kind(node: ov.Node, kind: str) -> ov.Node:
    if node.get_type_name() != kind:
        raise _OtherFormError
    return node


def _input(node: ov.Node, port: int) -> ov.Node:
    if node.get_input_size() <= port:
        raise _OtherFormError
    return node.input_value(port).get_node()


def _first_constant(node: ov.Node) -> ov.Node:
    while node.get_type_name() != "Constant":
        node = _input(node, 0)
    return node


def _data(node: ov.Node) -> npt.NDArray[np.generic]:
    return np.asarray(_of_kind(node, "Constant").get_data())


def _check_equal(node: ov.Node, expected: npt.NDArray[np.generic]) -> None:
    if not np.array_equal(_data(node), expected):
        raise _OtherFormError


def _elements(constant: ov.Node) -> npt.NDArray[np.uint8]:
    """(all,) the elements of a packed constant."""
    # Of a type of one byte it would be the packed bytes.
    found: npt.NDArray[np.uint8] = constant.get_data(dtype=np.int32).astype(np.uint8)
    return found.reshape(-1)
