"""Convolutions and pools: operations on windows."""

from __future__ import annotations

from collections.abc import Callable

import openvino as ov
import torch
import torch.nn.functional as F
from torch import Tensor

from nncf_mcq.model.nodes import spatial_pads, transposed_pads_begin
from nncf_mcq.model.torch_operations.base import Builder, Function, interleaved, unsupported

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _convolution(operation: ov.Node) -> Function:
    grouped = operation.get_type_name() == "GroupConvolution"
    shape = operation.get_input_shape(1)
    kernel = list(shape[3 if grouped else 2 :])
    attributes = operation.get_attributes()
    convolve = _of_dimensions(operation, _CONVOLUTIONS, len(kernel))
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    begin, end = spatial_pads(operation, kernel, strides, dilations)
    padding, outer = (begin, None) if begin == end else (0, interleaved(begin, end))

    def function(value: Tensor, weight: Tensor) -> Tensor:
        if outer is not None:
            value = F.pad(value, outer)
        groups = len(weight) if grouped else 1
        return convolve(value, weight.flatten(0, 1) if grouped else weight, None, strides, padding, dilations, groups)

    return function


def _transposed_convolution(operation: ov.Node) -> Function:
    """The full output, of which a part is cut out."""
    grouped = operation.get_type_name() == "GroupConvolutionBackpropData"
    kernel = list(operation.get_input_shape(1)[3 if grouped else 2 :])
    attributes = operation.get_attributes()
    convolve = _of_dimensions(operation, _TRANSPOSED, len(kernel))
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    begin = transposed_pads_begin(operation, kernel, strides, dilations)
    sizes, results = operation.get_input_shape(0)[2:], operation.get_output_shape(0)[2:]
    end = [
        (size - 1) * stride + (width - 1) * dilation + 1 - cut - result
        for size, result, width, stride, dilation, cut in zip(
            sizes, results, kernel, strides, dilations, begin, strict=True
        )
    ]
    # Output padding is what is cut off less than there is.
    outer = interleaved([-cut for cut in begin], [-cut for cut in end])

    def function(value: Tensor, weight: Tensor, *_: Tensor) -> Tensor:
        groups = len(weight) if grouped else 1
        weight = weight.flatten(0, 1) if grouped else weight
        return F.pad(convolve(value, weight, None, strides, 0, 0, groups, dilations), outer)

    return function


def _max_pool(operation: ov.Node) -> Function:
    if operation.get_output_size() > 1 and operation.output(1).get_target_inputs():
        raise unsupported(operation, "output 1", "a reader", "to read output 0 only")
    attributes = operation.get_attributes()
    kernel, strides = list(attributes["kernel"]), list(attributes["strides"])
    dilations = list(attributes.get("dilations", [1] * len(kernel)))
    pool = _of_dimensions(operation, _MAX_POOLS, len(kernel))
    begin, end = spatial_pads(operation, kernel, strides, dilations)
    end = _with_overhang(operation, kernel, strides, dilations, begin, end)
    if begin == end and all(2 * pad <= size for pad, size in zip(begin, kernel, strict=True)):
        return lambda value: pool(value, kernel, strides, begin, dilations)
    outer = interleaved(begin, end)
    # Not infinity: a window may lie in the padding as a whole.
    return lambda value: pool(F.pad(value, outer, value=torch.finfo(value.dtype).min), kernel, strides, 0, dilations)


def _average_pool(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    kernel, strides = list(attributes["kernel"]), list(attributes["strides"])
    ones = [1] * len(kernel)
    if list(attributes.get("dilations", ones)) != ones:
        raise unsupported(operation, "dilations", list(attributes["dilations"]), "1")
    pool = _of_dimensions(operation, _AVERAGE_POOLS, len(kernel))
    begin, end = spatial_pads(operation, kernel, strides, ones)
    reached = _with_overhang(operation, kernel, strides, ones, begin, end)
    if not any((*begin, *reached)):
        return lambda value: pool(value, kernel, strides)
    outer = interleaved(begin, reached)
    if not attributes["exclude-pad"] and any((*begin, *end)):
        # As the CPU runtime has it, what the last window reaches beyond the padding counts like the padding.
        return lambda value: pool(F.pad(value, outer), kernel, strides)
    share = pool(F.pad(torch.ones([1, 1, *operation.get_input_shape(0)[2:]]), outer), kernel, strides)
    return lambda value: pool(F.pad(value, outer), kernel, strides) / share.to(value)


def _of_dimensions(
    operation: ov.Node, functions: dict[int, Callable[..., Tensor]], count: int
) -> Callable[..., Tensor]:
    if count not in functions:
        raise unsupported(operation, "spatial dimensions", count, ", ".join(map(str, functions)))
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


BUILDERS: dict[str, Builder] = {
    "AvgPool": _average_pool,
    "Convolution": _convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolution": _convolution,
    "GroupConvolutionBackpropData": _transposed_convolution,
    "MaxPool": _max_pool,
}
