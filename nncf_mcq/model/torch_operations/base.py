"""Helpers of all families of operations: their errors, and constant inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import openvino as ov
from torch import Tensor

from nncf_mcq.errors import QuantizationError

Function: TypeAlias = Callable[..., Tensor | Sequence[Tensor]]
"""The values of all input ports -> the first output, or all of them."""

Builder: TypeAlias = Callable[[ov.Node], Function]
"""From an operation to the function that computes it; it does not keep the operation."""


def unsupported(operation: ov.Node, what: str, found: object, allowed: str) -> QuantizationError:
    """The error for an operation whose attribute or input is not supported."""
    where = f"{operation.get_friendly_name()} ({operation.get_type_name()})"
    return QuantizationError(f"{where}: {what}: found {found!r}, allowed: {allowed}")


def constant_values(operation: ov.Node, port: int) -> list[Any]:
    """The values of a constant input as a flat list."""
    node = operation.input_value(port).get_node()
    if node.get_type_name() != "Constant":
        raise unsupported(operation, f"input {port}", node.get_type_name(), "a constant")
    values: list[Any] = node.get_data().reshape(-1).tolist()
    return values


def normalized_axes(operation: ov.Node, values: Sequence[int]) -> list[int]:
    """Axes of the first input, counted from the front."""
    rank = len(operation.get_input_shape(0))
    return [value % rank for value in values]


def interleaved(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """The order of `torch.nn.functional.pad`: the last dimension first."""
    return [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]
