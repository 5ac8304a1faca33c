"""OpenVINO operations as PyTorch functions; all that vary with the input keep the batch in the first dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import openvino as ov
import torch
import torch.nn.functional as F
from torch import Tensor

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.nodes import spatial_pads

Function: TypeAlias = Callable[..., Tensor | Sequence[Tensor]]
"""The values of all input ports -> the first output, or all of them."""

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}
_MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d}

_ROUNDINGS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "round_prefer_floor": lambda position, scale: (position - 0.5).ceil(),
    "round_prefer_ceil": lambda position, scale: (position + 0.5).floor(),
    "floor": lambda position, scale: position.floor(),
    "ceil": lambda position, scale: position.ceil(),
    "simple": lambda position, scale: position.ceil() if scale < 1 else position.floor(),
}


def to_function(operation: ov.Node) -> Function:
    """The function that computes an operation; it does not keep the operation.

    Args:
        operation: Of a model with static shapes, whose constants are folded.

    Raises:
        QuantizationError: The operation or one of its attributes is not supported.
    """
    kind = operation.get_type_name()
    if kind not in _BUILDERS:
        name = operation.get_friendly_name()
        raise QuantizationError(f"{name}: found operation {kind}, allowed: {', '.join(sorted(_BUILDERS))}")
    return _BUILDERS[kind](operation)


def _unsupported(operation: ov.Node, what: str, found: object, allowed: str) -> QuantizationError:
    where = f"{operation.get_friendly_name()} ({operation.get_type_name()})"
    return QuantizationError(f"{where}: {what}: found {found!r}, allowed: {allowed}")


def _constant(operation: ov.Node, port: int) -> list[Any]:
    """The values of a constant input as a flat list."""
    node = operation.input_value(port).get_node()
    if node.get_type_name() != "Constant":
        raise _unsupported(operation, f"input {port}", node.get_type_name(), "a constant")
    values: list[Any] = node.get_data().reshape(-1).tolist()
    return values


def _axes(operation: ov.Node, values: Sequence[int]) -> list[int]:
    rank = len(operation.get_input_shape(0))
    return [value % rank for value in values]


# Element by element


def _plain(function: Callable[..., Tensor]) -> Callable[[ov.Node], Function]:
    """An operation without attributes."""
    return lambda operation: function


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[ov.Node], Function]:
    def build(operation: ov.Node) -> Function:
        broadcast = operation.get_attributes()["auto_broadcast"]
        if broadcast not in ("numpy", "none"):
            raise _unsupported(operation, "auto_broadcast", broadcast, "numpy, none")
        return function

    return build


def _clamp(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    low, high = float(attributes["min"]), float(attributes["max"])
    return lambda value: value.clamp(low, high)


def _convert(operation: ov.Node) -> Function:
    # Which float type it is does not matter: like the runtime with its f32 hint, all are computed in one.
    if not operation.get_output_element_type(0).is_real():
        raise _unsupported(operation, "destination_type", operation.get_output_element_type(0), "float types")
    return lambda value: value if value.is_floating_point() else value.float()


def _elu(operation: ov.Node) -> Function:
    alpha = float(operation.get_attributes()["alpha"])
    return lambda value: F.elu(value, alpha)


def _gelu(operation: ov.Node) -> Function:
    approximate = "tanh" if str(operation.get_attributes().get("approximation_mode")).lower() == "tanh" else "none"
    return lambda value: F.gelu(value, approximate=approximate)


def _prelu(value: Tensor, slope: Tensor) -> Tensor:
    if slope.ndim == 1 and value.ndim > 1 and len(slope) == value.shape[1]:
        slope = slope.reshape(-1, *(1 for _ in value.shape[2:]))
    return torch.where(value >= 0, value, value * slope)


def _swish(value: Tensor, beta: Tensor | None = None) -> Tensor:
    return F.silu(value) if beta is None else value * torch.sigmoid(beta * value)


def _softmax(operation: ov.Node) -> Function:
    (axis,) = _axes(operation, [operation.get_attributes()["axis"]])
    if axis == 0:
        raise _unsupported(operation, "axis", axis, "any but the first, which is the batch")
    return lambda value: value.softmax(axis)


def _batch_norm(operation: ov.Node) -> Function:
    epsilon = float(operation.get_attributes()["epsilon"])

    def normalize(value: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(value, mean, variance, gamma, beta, eps=epsilon)

    if operation.get_type_info().version_id == "opset1":
        return lambda gamma, beta, value, mean, variance: normalize(value, gamma, beta, mean, variance)
    return normalize


# Windows


def _convolution(operation: ov.Node) -> Function:
    grouped = operation.get_type_name() == "GroupConvolution"
    shape = operation.get_input_shape(1)
    kernel = list(shape[3 if grouped else 2 :])
    attributes = operation.get_attributes()
    convolve = _of_dimensions(operation, _CONVOLUTIONS, len(kernel))
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    begin, end = spatial_pads(operation, kernel, strides, dilations)
    padding, outer = (begin, None) if begin == end else (0, _interleaved(begin, end))

    def function(value: Tensor, weight: Tensor) -> Tensor:
        if outer is not None:
            value = F.pad(value, outer)
        groups = len(weight) if grouped else 1
        return convolve(value, weight.flatten(0, 1) if grouped else weight, None, strides, padding, dilations, groups)

    return function


def _max_pool(operation: ov.Node) -> Function:
    if operation.get_output_size() > 1 and operation.output(1).get_target_inputs():
        raise _unsupported(operation, "output 1", "a reader", "to read output 0 only")
    attributes = operation.get_attributes()
    kernel, strides = list(attributes["kernel"]), list(attributes["strides"])
    dilations = list(attributes.get("dilations", [1] * len(kernel)))
    pool = _of_dimensions(operation, _MAX_POOLS, len(kernel))
    begin, end = spatial_pads(operation, kernel, strides, dilations)
    end = _with_overhang(operation, kernel, strides, dilations, begin, end)
    if begin == end and all(2 * pad <= size for pad, size in zip(begin, kernel, strict=True)):
        return lambda value: pool(value, kernel, strides, begin, dilations)
    outer = _interleaved(begin, end)
    # Not infinity: a window may lie in the padding as a whole.
    return lambda value: pool(F.pad(value, outer, value=torch.finfo(value.dtype).min), kernel, strides, 0, dilations)


def _average_pool(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    kernel, strides = list(attributes["kernel"]), list(attributes["strides"])
    ones = [1] * len(kernel)
    if list(attributes.get("dilations", ones)) != ones:
        raise _unsupported(operation, "dilations", list(attributes["dilations"]), "1")
    pool = _of_dimensions(operation, _AVERAGE_POOLS, len(kernel))
    begin, end = spatial_pads(operation, kernel, strides, ones)
    reached = _with_overhang(operation, kernel, strides, ones, begin, end)
    if not any((*begin, *reached)):
        return lambda value: pool(value, kernel, strides)
    outer = _interleaved(begin, reached)
    if not attributes["exclude-pad"] and any((*begin, *end)):
        # As the CPU runtime has it, what the last window reaches beyond the padding counts like the padding.
        return lambda value: pool(F.pad(value, outer), kernel, strides)
    share = pool(F.pad(torch.ones([1, 1, *operation.get_input_shape(0)[2:]]), outer), kernel, strides)
    return lambda value: pool(F.pad(value, outer), kernel, strides) / share.to(value)


def _of_dimensions(
    operation: ov.Node, functions: dict[int, Callable[..., Tensor]], count: int
) -> Callable[..., Tensor]:
    if count not in functions:
        raise _unsupported(operation, "spatial dimensions", count, "1, 2")
    return functions[count]


def _with_overhang(
    operation: ov.Node, kernel: list[int], strides: list[int], dilations: list[int], begin: list[int], end: list[int]
) -> list[int]:
    """The padding at the end that the last window reaches: more than `end` where the output's size is rounded up."""
    sizes, results = operation.get_input_shape(0)[2:], operation.get_output_shape(0)[2:]
    return [
        max((result - 1) * stride + (width - 1) * dilation + 1 - size - before, after)
        for size, result, width, stride, dilation, before, after in zip(
            sizes, results, kernel, strides, dilations, begin, end, strict=True
        )
    ]


def _interleaved(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """The order of `torch.nn.functional.pad`: the last dimension first."""
    return [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]


# Matrices and reductions


def _matmul(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    flags = (bool(attributes["transpose_a"]), bool(attributes["transpose_b"]))

    def function(left: Tensor, right: Tensor) -> Tensor:
        left, right = (
            value.transpose(-1, -2) if flag and value.ndim > 1 else value
            for value, flag in zip((left, right), flags, strict=True)
        )
        return left @ right

    return function


def _reduction(reduce: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[[ov.Node], Function]:
    def build(operation: ov.Node) -> Function:
        axes = _axes(operation, _constant(operation, 1))
        keep = bool(operation.get_attributes()["keep_dims"])
        if not axes:  # which means all of them to PyTorch
            return lambda value, _: value
        return lambda value, _: reduce(value, axes, keep)

    return build


# Shapes


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
    order = _constant(operation, 1) or list(reversed(range(rank)))
    return lambda value, _: value.permute(order)


def _concat(operation: ov.Node) -> Function:
    (axis,) = _axes(operation, [operation.get_attributes()["axis"]])
    return lambda *values: torch.cat(values, axis)


def _split(operation: ov.Node) -> Function:
    (axis,) = _axes(operation, _constant(operation, 1))
    sizes = [output.get_shape()[axis] for output in operation.outputs()]
    return lambda value, *_: value.split(sizes, axis)


def _strided_slice(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    for mask in ("new_axis_mask", "ellipsis_mask"):
        if any(attributes[mask]):
            raise _unsupported(operation, mask, list(attributes[mask]), "0")
    begin, end = _constant(operation, 1), _constant(operation, 2)
    steps = _constant(operation, 3) if operation.get_input_size() > 3 else [1] * len(begin)

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
    begin, end, steps = (_constant(operation, port) for port in (1, 2, 3))
    values = _constant(operation, 4) if operation.get_input_size() > 4 else range(len(begin))
    axes = _axes(operation, list(values))
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
                raise _unsupported(operation, "step", item.step, "1 and above")
            if len(range(*item.indices(size))) == size:
                item = slice(None)  # also of a batch of another size
        items.append(item)
    return lambda value, *_: value[tuple(items)]


def _pad(operation: ov.Node) -> Function:
    mode = operation.get_attributes()["pad_mode"]
    if mode != "constant":
        raise _unsupported(operation, "pad_mode", mode, "constant")
    outer = _interleaved(_constant(operation, 1), _constant(operation, 2))
    filling = float(_constant(operation, 3)[0]) if operation.get_input_size() > 3 else 0.0
    return lambda value, *_: F.pad(value, outer, value=filling)


def _interpolate(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    mode, rounding = attributes["mode"], attributes.get("nearest_mode")
    if mode not in ("nearest", "linear_onnx") or rounding not in _ROUNDINGS:
        raise _unsupported(operation, "mode", mode, "nearest, linear_onnx of opset4 and above")
    if attributes["antialias"] or any((*attributes["pads_begin"], *attributes["pads_end"])):
        raise _unsupported(operation, "antialias, pads_begin or pads_end", "other than 0", "0")
    before, after = operation.get_input_shape(0), operation.get_output_shape(0)
    first_version = operation.get_type_info().version_id == "opset4"
    port = 3 if first_version else 2
    axes = _axes(operation, _constant(operation, port)) if operation.get_input_size() > port else range(len(before))
    scales = {axis: after[axis] / before[axis] for axis in axes}
    if attributes["shape_calculation_mode"] == "scales":
        scales = dict(zip(axes, _constant(operation, 2 if first_version else 1), strict=True))
    taps: list[tuple[int, Tensor, Tensor, Tensor | None]] = []
    for axis, scale in scales.items():
        if before[axis] == after[axis] and scale == 1:
            continue
        position = _coordinates(operation, before[axis], after[axis], scale)
        last = before[axis] - 1
        if mode == "nearest":
            index = _ROUNDINGS[rounding](position, scale).clamp(0, last).long()
            taps.append((axis, index, index, None))
        else:
            position = position.clamp(0, last)
            index = position.floor().long()
            share = (position - index).reshape(-1, *(1 for _ in before[axis + 1 :]))
            taps.append((axis, index, (index + 1).clamp(max=last), share))

    def function(value: Tensor, *_: Tensor) -> Tensor:
        for axis, lower, upper, share in taps:
            if share is None:
                value = value.index_select(axis, lower.to(value.device))
            else:
                left, right = (value.index_select(axis, index.to(value.device)) for index in (lower, upper))
                value = torch.lerp(left, right, share.to(value))
        return value

    return function


def _coordinates(operation: ov.Node, size: int, result: int, scale: float) -> Tensor:
    """The position in the input of each element of the output, in float32 as the runtime rounds it."""
    mode = operation.get_attributes()["coordinate_transformation_mode"]
    position = torch.arange(result, dtype=torch.float32)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and result > 1):
        return (position + 0.5) / scale - 0.5
    if mode == "asymmetric":
        return position / scale
    if mode == "tf_half_pixel_for_nn":
        return (position + 0.5) / scale
    if mode == "align_corners" and result > 1:
        return position * (size - 1) / (result - 1)
    return torch.zeros(result)


_BUILDERS: dict[str, Callable[[ov.Node], Function]] = {
    "Abs": _plain(torch.abs),
    "Add": _binary(torch.add),
    "AvgPool": _average_pool,
    "BatchNormInference": _batch_norm,
    "Clamp": _clamp,
    "Concat": _concat,
    "Convert": _convert,
    "Convolution": _convolution,
    "Divide": _binary(torch.div),
    "Elu": _elu,
    "Exp": _plain(torch.exp),
    "Gelu": _gelu,
    "GroupConvolution": _convolution,
    "HSigmoid": _plain(F.hardsigmoid),
    "HSwish": _plain(F.hardswish),
    "Interpolate": _interpolate,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Maximum": _binary(torch.maximum),
    "Minimum": _binary(torch.minimum),
    "Mish": _plain(F.mish),
    "Multiply": _binary(torch.mul),
    "Negative": _plain(torch.neg),
    "PRelu": _plain(_prelu),
    "Pad": _pad,
    "Power": _binary(torch.pow),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "SoftPlus": _plain(F.softplus),
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _reshape,
    "StridedSlice": _strided_slice,
    "Subtract": _binary(torch.sub),
    "Swish": _plain(_swish),
    "Tanh": _plain(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
    "VariadicSplit": _split,
}
