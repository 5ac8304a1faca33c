"""Histograms of weights before and after quantization, small enough to lie beside every model."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from nncf_mcq.config.output_files import LayerHistogram
from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.model.layers import QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.level_range import LevelRange, level_range
from nncf_mcq.weights.trellis import alphabet
from nncf_mcq.weights.weight_table import WeightTable

BINS: Final = 80
REACH: Final = 2.0
"""Bins cover so many times the clip range; what lies beyond counts in the outermost ones."""


def weight_histogram(weights: torch.Tensor, entry: QuantizedWeight, levels: LevelRange) -> LayerHistogram:
    """Counts one layer's float weights in `BINS` bins of equal width from -`REACH` to `REACH`, and those on each level.

    Args:
        weights: (groups, rows, columns) float weights.
        entry: The same weights, quantized.
        levels: That the grid has.
    """
    low, high = (
        torch.from_numpy(np.array(end)).reshape(weights.shape[:2]) for end in (entry.clip.low, entry.clip.high)
    )
    middle, half = (low + high) / 2, ((high - low) / 2).clamp_min(1e-30)
    places = (weights - middle[..., None]) / half[..., None]
    counts = torch.histc(places.clamp(-REACH, REACH), BINS, -REACH, REACH)
    counted = _counted(entry, levels)
    # The zero point is rounded, which moves a range by up to half a step from the extremes that it was made for.
    half_step = 1 / (len(counted) - 1)
    thresholds = torch.maximum(low.abs(), high.abs()).flatten()
    return LayerHistogram(
        float_counts=tuple(int(count) for count in counts),
        level_counts=tuple(counted.tolist()),
        clipped=float((places.abs() > 1 + 1.001 * half_step).float().mean()),
        thresholds=(float(thresholds.min()), float(thresholds.median()), float(thresholds.max())),
        largest=float(weights.abs().max()),
    )


def _counted(entry: QuantizedWeight, levels: LevelRange) -> NDArray[np.int64]:
    """Weights on each level; of trellis-coded ones on each whole number, of which the alphabet has some."""
    if entry.coding == "trellis":
        largest = int(alphabet(entry.bits)[-1])
        return np.bincount(entry.integers.ravel() + largest, minlength=2 * largest + 1)
    counts = np.bincount(entry.levels.ravel(), minlength=2**entry.bits)
    return counts[levels.lowest : levels.highest + 1]


def weight_histograms(
    quantizable: QuantizableModel, policy: Policy, table: WeightTable, weights_config: WeightsConfig
) -> dict[str, LayerHistogram]:
    """Counts the weights of every layer at the policy's bits; those of layers left in floating point are left out.

    Args:
        quantizable: The float model and its layers.
        policy: Bits of every layer.
        table: The quantized weights.
        weights_config: Tells which levels the grids have.
    """
    operations = operations_by_name(quantizable.model)
    return {
        layer.name: weight_histogram(
            torch.from_numpy(weight_matrices(layer, operations[layer.name])),
            table[layer.name, policy.weight_bits[layer.name]],
            level_range(layer, policy.weight_bits[layer.name], weights_config),
        )
        for layer in quantizable.layers
        if policy.weight_bits[layer.name] != FLOAT_CHOICE
    }
