"""Which layer of an OpenVINO model is which module of the torch model that it came from: the one with the same weights.

Names differ between the two, and a folded batch normalization has scaled each output channel. What stays is the
direction of each channel's weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nncf_mcq.model.layers import QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name

SMALLEST_SIMILARITY = 0.999


def match_weights(modules: Mapping[str, torch.Tensor], quantizable: QuantizableModel) -> dict[str, str]:
    """Finds the module of each group of layers that share their weights.

    Layers with equal weights are taken in the order of the network.

    Args:
        modules: Module name to weights with the output channels first, in the order of the network. There may be more
            than are layers.
        quantizable: The OpenVINO model's layers.

    Returns:
        Group name to module name: no module twice, and no group that has no module.
    """
    operations = operations_by_name(quantizable.model)
    free = {name: _directions(weights.detach().cpu().numpy()) for name, weights in modules.items()}
    found: dict[str, str] = {}
    for group, members in quantizable.groups.items():
        layer = members[0]
        matrices = weight_matrices(layer, operations[layer.name])
        wanted = _directions(matrices.reshape(layer.output_channels, -1))
        alike = [name for name, directions in free.items() if _similarity(wanted, directions) > SMALLEST_SIMILARITY]
        if alike:
            found[group] = alike[0]
            del free[alike[0]]
    return found


def channel_factors(folded: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """What each output channel of a module's weights was multiplied by when its batch normalization was folded.

    Args:
        folded: (channels, columns) weights of the layer.
        weights: (channels, columns) weights of its module.

    Returns:
        (channels,) factors, negative ones among them; 1 where the module's weights are all 0.
    """
    squares = (weights.astype(np.float64) ** 2).sum(axis=1)
    products = (folded.astype(np.float64) * weights).sum(axis=1)
    factors: NDArray[np.float64] = np.divide(products, squares, out=np.ones_like(squares), where=squares > 0)
    return factors


def _directions(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """(channels, columns) of length 1; channels without weights stay 0."""
    rows = weights.reshape(len(weights), -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float64] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return directions


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """How alike the directions of two layers' channels are.

    Args:
        first: (channels, ...) weights.
        second: The same of the other one.

    Returns:
        Smallest absolute cosine between channels of the same index, where neither is all zero: 1 where each is a
        multiple of the other. 0 for other shapes, and where there is nothing to compare.
    """
    return _similarity(_directions(first), _directions(second))


def _similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Smallest absolute cosine between channels of the same index; 0 for other shapes."""
    if first.shape != second.shape:
        return 0.0
    cosines = np.abs((first * second).sum(axis=1))
    # A channel that is 0 in one of them (a folded scale can be 0) has no direction to compare.
    compared = first.any(axis=1) & second.any(axis=1)
    return float(cosines[compared].min()) if compared.any() else 0.0
