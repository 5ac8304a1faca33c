"""Operations element by element, activations and normalization."""

from __future__ import annotations

from collections.abc import Callable

import openvino as ov
import torch
import torch.nn.functional as F
from torch import Tensor

from nncf_mcq.model.torch_operations.base import Builder, Function, normalized_axes, unsupported


def _plain(function: Callable[..., Tensor]) -> Callable[[ov.Node], Function]:
    """An operation without attributes."""
    return lambda operation: function


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[ov.Node], Function]:
    def build(operation: ov.Node) -> Function:
        broadcast = operation.get_attributes()["auto_broadcast"]
        if broadcast not in ("numpy", "none"):
            raise unsupported(operation, "auto_broadcast", broadcast, "numpy, none")
        return function

    return build


def _clamp(operation: ov.Node) -> Function:
    attributes = operation.get_attributes()
    low, high = float(attributes["min"]), float(attributes["max"])
    # As `clamp`, whose gradient takes three times as long.
    return lambda value: F.hardtanh(value, low, high)


def _convert(operation: ov.Node) -> Function:
    # Which float type it is does not matter: like the runtime with its f32 hint, all are computed in one.
    if not operation.get_output_element_type(0).is_real():
        raise unsupported(operation, "destination_type", operation.get_output_element_type(0), "float types")
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
    (axis,) = normalized_axes(operation, [operation.get_attributes()["axis"]])
    if axis == 0:
        raise unsupported(operation, "axis", axis, "any but the first, which is the batch")
    return lambda value: value.softmax(axis)


def _batch_norm(operation: ov.Node) -> Function:
    epsilon = float(operation.get_attributes()["epsilon"])

    def normalize(value: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(value, mean, variance, gamma, beta, eps=epsilon)

    if operation.get_type_info().version_id == "opset1":
        return lambda gamma, beta, value, mean, variance: normalize(value, gamma, beta, mean, variance)
    return normalize


BUILDERS: dict[str, Builder] = {
    "Abs": _plain(torch.abs),
    "Add": _binary(torch.add),
    "BatchNormInference": _batch_norm,
    "Clamp": _clamp,
    "Convert": _convert,
    "Divide": _binary(torch.div),
    "Elu": _elu,
    "Exp": _plain(torch.exp),
    "Gelu": _gelu,
    "HSigmoid": _plain(F.hardsigmoid),
    "HSwish": _plain(F.hardswish),
    "Maximum": _binary(torch.maximum),
    "Minimum": _binary(torch.minimum),
    "Mish": _plain(F.mish),
    "Multiply": _binary(torch.mul),
    "Negative": _plain(torch.neg),
    "PRelu": _plain(_prelu),
    "Power": _binary(torch.pow),
    "Relu": _plain(torch.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "SoftPlus": _plain(F.softplus),
    "Softmax": _softmax,
    "Sqrt": _plain(torch.sqrt),
    "Subtract": _binary(torch.sub),
    "Swish": _plain(_swish),
    "Tanh": _plain(torch.tanh),
}
