"""Which activation point of a converted model holds what a module of the torch network returns: the same values."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.calibration.statistics import observed_output
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.nodes import operations_by_name

_TOLERANCE: Final = 1e-3
"""Largest difference between two tensors that are the same one, relative to their largest value: a batch normalization
is folded on one side only."""


def point_values(
    quantizable: QuantizableModel, inputs: Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float32]]:
    """The values at each activation point of a float model.

    Args:
        quantizable: The model.
        inputs: One sample, in the order of the inputs or by name.
    """
    model = quantizable.model.clone()
    operations = operations_by_name(model)
    results = [opset.result(observed_output(operations, point)) for point in quantizable.activation_points]
    compiled = compile_model(ov.Model(results, model.get_parameters(), "activations"), 1)
    outputs = compiled(inputs if isinstance(inputs, dict) else list(inputs))
    return {point.name: np.array(outputs[index]) for index, point in enumerate(quantizable.activation_points)}


def are_same(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two tensors are the same one, computed in two ways."""
    size = float(np.abs(first).max(initial=0))
    return first.shape == second.shape and float(np.abs(second - first).max(initial=0)) <= _TOLERANCE * size


@torch.no_grad()
def module_outputs(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor]
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """What each module inside a network returns, where that is one tensor.

    Args:
        module: The network, in evaluation mode.
        inputs: One sample.

    Returns:
        By the module's name and the number of its call.
    """
    found: dict[tuple[str, int], NDArray[np.float32]] = {}
    calls: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for name, part in module.named_modules():

            def keep(_: object, __: object, output: object, name: str = name) -> None:
                if isinstance(output, torch.Tensor):
                    # A copy: an activation function may write over it.
                    found[name, calls.setdefault(name, 0)] = output.detach().float().cpu().numpy().copy()
                calls[name] = calls.get(name, 0) + 1

            stack.callback(part.register_forward_hook(keep).remove)
        module(*inputs)
    return found
