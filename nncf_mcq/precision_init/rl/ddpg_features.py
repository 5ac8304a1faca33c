"""What the published agents know of a layer."""

from __future__ import annotations

import math

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.graph import operations_by_name
from nncf_mcq.layers import QuantizableLayer, QuantizableModel


def layer_features(quantizable: QuantizableModel) -> NDArray[np.float64]:
    """(groups, 8) the constant part of the states, each column scaled to [0, 1] over the groups.

    The columns: position, whether depthwise, input channels, output channels, stride, kernel size, number of weights,
    positions of the input feature map. A matrix product has stride 0 and kernel size 1, as published; so has a layer
    whose operation is not in the model. A group is described by its first layer.

    Source: the observation of Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision",
    CVPR 2019, equations 1 and 2, without the action and without whether it is for weights or activations.
    """
    operations = operations_by_name(quantizable.model)
    rows = [
        [position, *_describe(members[0], operations.get(members[0].name))]
        for position, members in enumerate(quantizable.groups.values())
    ]
    features = np.array(rows, dtype=float)
    low, high = features.min(axis=0), features.max(axis=0)
    # A column that is the same for all layers says nothing, whatever its value.
    scaled: NDArray[np.float64] = (features - low) / np.where(high > low, high - low, 1.0)
    return scaled


def _describe(layer: QuantizableLayer, operation: ov.Node | None) -> list[float]:
    stride, kernel, positions = 0, 1, 1
    if layer.kind != "matmul":
        kernel = layer.weight_shape[-1]
    if operation is not None:
        shape = tuple(operation.get_input_shape(layer.data_port))
        if layer.kind == "matmul":
            positions = math.prod(shape[1:-1])
        else:
            stride = operation.get_attributes()["strides"][-1]
            positions = math.prod(shape[2:])
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
    if layer.kind == "matmul":
        return layer.columns
    if layer.kind == "convolution":
        return layer.weight_shape[1]
    return layer.weight_shape[0] * layer.weight_shape[2]
