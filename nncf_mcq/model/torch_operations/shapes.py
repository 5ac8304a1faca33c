"""Operations that rearrange, join, divide and pad."""

from __future__ import annotations

import math

import openvino as ov
import torch
import torch.nn.functional as F
from torch import Tensor

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.torch_operations.base import (
    Builder,
    Function,
    constant_values,
    interleaved,
    normalized_axes,
    unsupported,
)


def _reshape(operation: ov.Node) -> Function:
    name = operation.get_friendly_name()
    before, after = list(operation.get_input_shape(0)), list(operation.get_output_shape(0))
    follows = before[:1] == after[:1] != []

    def function(value: Tensor, *_: Tensor) -> Tensor:
        shape = [len(value), *after[1:]] if follows else after
        if math.prod(shape) != value.numel():
            raise QuantizationError(
                f"{name}: it reshapes to {after}: found a batch of {len(value)}, allowed: {before[0]}"
            )
        return value.reshape(shape)

    return function


def _transpose(operation: ov.Node) -> Function:
    rank = len(operation.get_input_shape(0))
    order = constant_values(operation, 1) or list(reversed(range(rank)))
    return lambda value, _: value.permute(order)


def _concat(operation: ov.Node) -> Function:
    (axis,) = normalized_axes(operation, [operation.get_attributes()["axis"]])
    return lambda *values: torch.cat(values, axis)


def _split(operation: ov.Node) -> Function:
    (axis,) = normalized_axes(operation, constant_values(operation, 1))
    sizes = [output.get_shape()[axis] for output in operation.outputs()]
    return lambda value, *_: value.split(sizes, axis)


def _strided_slice(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    for mask in ("new_axis_mask", "ellipsis_mask"):
        if any(attributes[mask]):
            raise unsupported(operation, mask, list(attributes[mask]), "0")
    begin, end = constant_values(operation, 1), constant_values(operation, 2)
    steps = constant_values(operation, 3) if operation.get_input_size() > 3 else [1] * len(begin)

    def flag(mask: str, axis: int) -> bool:
        values = attributes[mask]
        return axis < len(values) and bool(values[axis])

    index: dict[int, int | slice] = {}
    for axis, (first, last, step) in enumerate(zip(begin, end, steps, strict=True)):
        if flag("shrink_axis_mask", axis):
            index[axis] = first
        else:
            first = None if flag("begin_mask", axis) else first
            index[axis] = slice(first, None if flag("end_mask", axis) else last, step)
    return _index(operation, index)


def _slice(operation: ov.Node) -> Function:
    begin, end, steps = (constant_values(operation, port) for port in (1, 2, 3))
    values = constant_values(operation, 4) if operation.get_input_size() > 4 else range(len(begin))
    axes = normalized_axes(operation, list(values))
    return _index(
        operation,
        {axis: slice(*bounds) for axis, bounds in zip(axes, zip(begin, end, steps, strict=True), strict=True)},
    )


def _index(operation: ov.Node, index: dict[int, int | slice]) -> Function:
    items: list[int | slice] = []
    for axis, size in enumerate(operation.get_input_shape(0)):
        item = index.get(axis, slice(None))
        if isinstance(item, slice):
            if item.step is not None and item.step < 1:
                raise unsupported(operation, "step", item.step, "1 and above")
            if len(range(*item.indices(size))) == size:
                item = slice(None)  # also of a batch of another size
        items.append(item)
    return lambda value, *_: value[tuple(items)]


def _pad(operation: ov.Node) -> Function:
    mode = operation.get_attributes()["pad_mode"]
    if mode != "constant":
        raise unsupported(operation, "pad_mode", mode, "constant")
    outer = interleaved(constant_values(operation, 1), constant_values(operation, 2))
    filling = float(constant_values(operation, 3)[0]) if operation.get_input_size() > 3 else 0.0
    return lambda value, *_: F.pad(value, outer, value=filling)


BUILDERS: dict[str, Builder] = {
    "Concat": _concat,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "StridedSlice": _strided_slice,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
    "VariadicSplit": _split,
}
