"""Matrix products and reductions."""

from __future__ import annotations

from collections.abc import Callable

import openvino as ov
import torch
from torch import Tensor

from nncf_mcq.model.torch_operations.base import Builder, Function, constant_values, normalized_axes


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
        axes = normalized_axes(operation, constant_values(operation, 1))
        keep = bool(operation.get_attributes()["keep_dims"])
        if not axes:  # which means all of them to PyTorch
            return lambda value, _: value
        return lambda value, _: reduce(value, axes, keep)

    return build


BUILDERS: dict[str, Builder] = {
    "MatMul": _matmul,
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
}
