"""Weights at 8 bits without any calibration, for models that are not shipped."""

from __future__ import annotations

import numpy as np
import openvino as ov
import torch

from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.ir.assemble import for_kernel
from nncf_mcq.ir.float_layers import replace_weights
from nncf_mcq.ir.packing import int8_weight
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, weight_matrices
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.range_init.base import extremes
from nncf_mcq.range_init.grid import grid_from_range
from nncf_mcq.weights.level_range import level_range


def set_nearest_weights(model: ov.Model, quantizable: QuantizableModel) -> ov.Model:
    """Gives all layers of a model their float weights, rounded to the nearest level of 8 bits.

    Args:
        model: With the layers' operations; edited.
        quantizable: The float model and its layers.

    Returns:
        The same model.
    """
    return replace_weights(model, quantizable, _nearest_weights)


def _nearest_weights(layer: QuantizableLayer, operation: ov.Node) -> list[ov.Node]:
    weights = torch.from_numpy(weight_matrices(layer, operation))
    allowed = level_range(layer, INT8_BITS, WeightsConfig())
    grid = grid_from_range(*extremes(weights, per_channel=True), allowed.grid_bits, allowed.mode)
    levels, zero_point = grid.levels(weights) + allowed.offset, grid.zero_point + allowed.offset
    shape = layer.channel_shape()
    parts = layer.split(layer.from_matrices(levels.to(torch.uint8).numpy()))
    scale, zero_points = grid.scale.numpy().reshape(shape), zero_point.numpy().astype(np.uint8).reshape(shape)
    return for_kernel(layer, [int8_weight(part, INT8_BITS, scale, zero_points) for part in parts])
