"""Features of a layer that the published agents use."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.nodes import operations_by_name


def group_features(quantizable: QuantizableModel, groups: Sequence[str]) -> NDArray[np.float64]:
    """(groups, 9) the constant part of the states, each column scaled to [0, 1] over the groups.

    The columns: position, whether depthwise, input channels, output channels, stride, kernel size, number of weights,
    positions of the input feature map, whether the width is that of weights. A matrix product has stride 0 and kernel
    size 1, as published; so has a layer whose operation is not in the model. A group of layers is described by its
    first one, a group of activation points by the first layer that reads it.

    Source: the observation of Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision",
    CVPR 2019, equations 1 and 2, without the action.

    Args:
        quantizable: The model.
        groups: Names of groups of layers or of activation points, in the order of an episode.
    """
    operations = operations_by_name(quantizable.model)
    described = {name: members[0] for name, members in quantizable.groups.items()}
    for layer in reversed(quantizable.layers):
        inputs = quantizable.activation_group(layer)
        if inputs is not None:
            described[inputs] = layer
    rows = [
        [position, *_describe(described[group], operations.get(described[group].name)), group in quantizable.groups]
        for position, group in enumerate(groups)
    ]
    features = np.array(rows, dtype=float)
    low, high = features.min(axis=0), features.max(axis=0)
    # A column that is the same for all layers says nothing, whatever its value.
    scaled: NDArray[np.float64] = (features - low) / np.where(high > low, high - low, 1.0)
    return scaled


def _describe(layer: QuantizableLayer, operation: ov.Node | None) -> list[float]:
    stride, kernel, positions = 0, 1, 1
    if layer.is_convolution:
        kernel = layer.weight_shape[-1]
    if operation is not None:
        shape = tuple(operation.get_input_shape(layer.data_port))
        if layer.is_convolution:
            stride = operation.get_attributes()["strides"][-1]
            positions = math.prod(shape[2:])
        else:
            positions = math.prod(shape[1:-1])
    return [
        float(layer.kind == "depthwise_convolution"),
        _input_channels(layer),
        layer.output_channels,
        stride,
        kernel,
        layer.weights,
        positions,
    ]


def _input_channels(layer: QuantizableLayer) -> int:
    if not layer.is_convolution:
        return layer.columns
    return layer.groups * layer.columns // math.prod(layer.weight_shape[len(layer.channel_axes) + 1 :])
