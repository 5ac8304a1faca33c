"""Interpolation."""

from __future__ import annotations

from collections.abc import Callable

import openvino as ov
import torch
from torch import Tensor

from nncf_mcq.model.torch_operations.base import Builder, Function, constant_values, normalized_axes, unsupported

_ROUNDINGS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "round_prefer_floor": lambda position, scale: (position - 0.5).ceil(),
    "round_prefer_ceil": lambda position, scale: (position + 0.5).floor(),
    "floor": lambda position, scale: position.floor(),
    "ceil": lambda position, scale: position.ceil(),
    "simple": lambda position, scale: position.ceil() if scale < 1 else position.floor(),
}


def _interpolate(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    mode, rounding = attributes["mode"], attributes.get("nearest_mode")
    if mode not in ("nearest", "linear_onnx") or rounding not in _ROUNDINGS:
        raise unsupported(operation, "mode", mode, "nearest, linear_onnx of opset4 and above")
    if attributes["antialias"] or any((*attributes["pads_begin"], *attributes["pads_end"])):
        raise unsupported(operation, "antialias, pads_begin or pads_end", "other than 0", "0")
    before, after = operation.get_input_shape(0), operation.get_output_shape(0)
    first_version = operation.get_type_info().version_id == "opset4"
    port = 3 if first_version else 2
    axes = (
        normalized_axes(operation, constant_values(operation, port))
        if operation.get_input_size() > port
        else range(len(before))
    )
    scales = {axis: after[axis] / before[axis] for axis in axes}
    if attributes["shape_calculation_mode"] == "scales":
        scales = dict(zip(axes, constant_values(operation, 2 if first_version else 1), strict=True))
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


BUILDERS: dict[str, Builder] = {
    "Interpolate": _interpolate,
}
