"""Recurrent layers, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from nncf_mcq.model.nodes import constant_value, is_constant
from nncf_mcq.model.torch_operations.base import Builder, Function, unsupported

_ACTIVATIONS = {"LSTMSequence": ["sigmoid", "tanh", "tanh"], "GRUSequence": ["sigmoid", "tanh"]}

Step = Callable[[Tensor, tuple[Tensor, ...], Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""The input of one step, the states before it, W, R and B of one direction -> the states, the output first."""


def _recurrent(operation: ov.Node) -> Function:
    """All steps in each direction."""
    kind, attributes = operation.get_type_name(), operation.get_attributes()
    functions = [str(name).lower() for name in attributes["activations"]]
    if functions != _ACTIVATIONS[kind] or attributes["clip"]:
        raise unsupported(operation, "activations", functions, f"{_ACTIVATIONS[kind]} without clip")
    count = 2 if kind == "LSTMSequence" else 1
    steps = operation.get_input_shape(0)[1]
    if not is_constant(operation, count + 1) or not np.all(constant_value(operation, count + 1) == steps):
        raise unsupported(operation, "sequence_lengths", "other than the input's", f"{steps}")
    direction = str(attributes["direction"]).lower()
    directions = {"forward": (False,), "reverse": (True,)}.get(direction, (False, True))
    step = _lstm if kind == "LSTMSequence" else _gru(bool(attributes["linear_before_reset"]))

    def function(value: Tensor, *arguments: Tensor) -> Sequence[Tensor]:
        states, (_, *weights) = arguments[:count], arguments[count:]
        shown, last = [], []
        for number, is_reversed in enumerate(directions):
            current = tuple(state[:, number].expand(len(value), -1) for state in states)
            outputs: list[Tensor] = [value] * steps
            for index in range(steps)[:: -1 if is_reversed else 1]:
                current = step(value[:, index], current, *(weight[number] for weight in weights))
                outputs[index] = current[0]
            shown.append(torch.stack(outputs, dim=1))
            last.append(current)
        ends = (torch.stack(found, dim=1) for found in zip(*last, strict=True))
        return [torch.stack(shown, dim=1), *ends]

    return function


def _lstm(
    value: Tensor, states: tuple[Tensor, ...], inputs: Tensor, recurrent: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    hidden, cell = states
    forget, take, candidate, show = (value @ inputs.T + hidden @ recurrent.T + bias).chunk(4, dim=1)
    cell = forget.sigmoid() * cell + take.sigmoid() * candidate.tanh()
    return show.sigmoid() * cell.tanh(), cell


def _gru(linear_before_reset: bool) -> Step:
    def step(
        value: Tensor, states: tuple[Tensor, ...], inputs: Tensor, recurrent: Tensor, bias: Tensor
    ) -> tuple[Tensor, ...]:
        (hidden,), size = states, recurrent.shape[1]
        from_inputs = value @ inputs.T + bias[: 3 * size]
        gates = (from_inputs[:, : 2 * size] + hidden @ recurrent[: 2 * size].T).sigmoid()
        update, reset = gates.chunk(2, dim=1)
        rows = recurrent[2 * size :]
        remembered = reset * (hidden @ rows.T + bias[3 * size :]) if linear_before_reset else (reset * hidden) @ rows.T
        candidate = (from_inputs[:, 2 * size :] + remembered).tanh()
        return ((1 - update) * candidate + update * hidden,)

    return step


BUILDERS: dict[str, Builder] = {"GRUSequence": _recurrent, "LSTMSequence": _recurrent}
