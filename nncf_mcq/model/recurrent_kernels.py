"""Recurrent layers that the CPU plugin would compute wrongly in int8, or cannot: they stay in floating point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias

import openvino as ov

from nncf_mcq.model.layer_forms import RECURRENT_PORTS

SHARED_KERNEL = "OpenVINO would compute it with the scales of an earlier layer of the same shape"

_Kernel: TypeAlias = tuple[str, str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class Layer(Protocol):
    """What is asked of a layer, see `QuantizableLayer`."""

    @property
    def name(self) -> str:
        """Of its operation."""

    @property
    def kind(self) -> str:
        """What it computes."""

    @property
    def group(self) -> str:
        """Name of the layers that share its weights."""

    @property
    def float_cause(self) -> str | None:
        """Why there is no int8 kernel for it alone."""


def recurrent_float_causes(layers: Iterable[Layer], operations: Mapping[str, ov.Node]) -> dict[str, str]:
    """The groups of recurrent layers that stay in floating point, and why.

    OpenVINO 2026.4 looks an int8 kernel up by the shapes alone, and the scales of the first layer of a shape are in it.
    A second one, as in an LSTM of two layers, is computed with scales that are not its own.

    The weights have another form where there is no int8 kernel, and shared ones have one form: if one layer of a group
    stays in floating point, all do.

    Args:
        layers: All layers, in the order of the model.
        operations: By name.
    """
    causes: dict[str, str] = {}
    taken: set[_Kernel] = set()
    for layer in layers:
        if layer.kind not in RECURRENT_PORTS:
            continue
        cause = layer.float_cause
        if cause is None:
            kernels = set(_kernels(operations[layer.name], RECURRENT_PORTS[layer.kind]))  # type: ignore[index]
            cause = SHARED_KERNEL if kernels & taken else None
            taken |= kernels
        if cause is not None:
            causes.setdefault(layer.group, cause)
    return causes


def _kernels(operation: ov.Node, ports: tuple[int, int]) -> Iterator[_Kernel]:
    """What tells the kernels of an operation from others, one for each direction."""
    direction = operation.get_attributes()["direction"]
    inputs, weights, states = (tuple(operation.get_input_shape(port)) for port in (0, *ports))
    for one in ("forward", "reverse") if direction == "bidirectional" else (direction,):
        yield operation.get_type_name(), one, inputs, weights[1:], states[1:]
