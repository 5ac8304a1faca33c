"""Weights at 8 bits without any calibration, for models that are not shipped."""

from __future__ import annotations

import numpy as np
import openvino as ov
import torch

from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.ir.float_layers import set_weights
from nncf_mcq.ir.packing import folded_weight, int8_weight
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
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
    operations, floats = operations_by_name(model), operations_by_name(quantizable.model)
    for members in quantizable.groups.values():
        weights = _nearest_weights(members[0], floats[members[0].name])
        for layer in members:
            set_weights(operations[layer.name], layer, weights)
    model.validate_nodes_and_infer_types()
    return model


def _nearest_weights(layer: QuantizableLayer, operation: ov.Node) -> list[ov.Node]:
    weights, allowed = weight_matrices(layer, operation), level_range(layer, INT8_BITS, WeightsConfig())
    grid = grid_from_range(*extremes(weights, per_channel=True), allowed.grid_bits, allowed.mode)
    levels, zero_point = grid.levels(weights) + allowed.offset, grid.zero_point + allowed.offset
    shape = layer.channel_shape()
    parts = layer.split(layer.from_matrices(levels.to(torch.uint8).numpy()))
    scale, zero_points = grid.scale.numpy().reshape(shape), zero_point.numpy().astype(np.uint8).reshape(shape)
    made = [int8_weight(part, INT8_BITS, scale, zero_points) for part in parts]
    return [folded_weight(weight) for weight in made] if layer.is_recurrent and not layer.integer_kernel else made
