"""Which layer of the OpenVINO model is which module of the torch model: the one with the same weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.autoq.environment import AutoqError
from nncf_mcq.model.layers import QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name

SMALLEST_SIMILARITY = 0.999


def match_layers(modules: Mapping[str, torch.Tensor], quantizable: QuantizableModel) -> dict[str, str]:
    """Finds the module of each group of layers that share their weights.

    Names differ between the two, and a folded batch normalization has scaled each output channel. What stays is the
    direction of each channel's weights. Layers with equal weights are taken in the order of the network.

    Args:
        modules: Module name to weights with the output channels first, in the order of the network. There may be more
            than are layers.
        quantizable: The OpenVINO model's layers.

    Returns:
        Group name to module name: no module twice.

    Raises:
        AutoqError: A group has no counterpart.
    """
    operations = operations_by_name(quantizable.model)
    free = {name: _directions(weights.detach().numpy()) for name, weights in modules.items()}
    found: dict[str, str] = {}
    for group, members in quantizable.groups.items():
        layer = members[0]
        matrices = weight_matrices(layer, operations[layer.name]).numpy()
        wanted = _directions(matrices.reshape(layer.output_channels, -1))
        alike = [name for name, directions in free.items() if _similarity(wanted, directions) > SMALLEST_SIMILARITY]
        if not alike:
            raise AutoqError(f"{group}: no torch module has the weights of this layer, so AutoQ cannot be compared")
        found[group] = alike[0]
        del free[alike[0]]
    return found


def _directions(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """(channels, columns) of length 1; channels without weights stay 0."""
    rows = weights.reshape(len(weights), -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float64] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return directions


def _similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Smallest absolute cosine between channels of the same index; 0 for other shapes."""
    if first.shape != second.shape:
        return 0.0
    cosines = np.abs((first * second).sum(axis=1))
    # A channel that is 0 in one of them (a folded scale can be 0) has no direction to compare.
    compared = first.any(axis=1) & second.any(axis=1)
    return float(cosines[compared].min()) if compared.any() else 0.0
