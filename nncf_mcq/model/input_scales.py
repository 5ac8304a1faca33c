"""Channels of a layer's input multiplied by constants, and its weights divided by them: the same float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, find_layers, layer_weight
from nncf_mcq.model.nodes import (
    constant_value,
    consumers,
    has_own_constant,
    is_constant,
    operations_by_name,
    replace_constant,
)

SCALE_SUFFIX = "/input_scale"
"""Behind the name of a layer, that of the multiplication which scales its input."""


_ELEMENTWISE = frozenset(
    {
        *("Add", "Subtract", "Multiply"),
        *("Relu", "Clamp", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh"),
        *("Swish", "HSwish", "Mish", "Gelu", "SoftPlus"),
    }
)
"""What the CPU plugin fuses a multiplication of its output with, together with the layer before it.

Not a layer or its bias alone: the plugin then makes another layer of the two, which has lost its name.
"""


def layers_of_own_input(quantizable: QuantizableModel) -> list[QuantizableLayer]:
    """The convolutions whose input nothing else reads, and is quantized right where an operation computes it.

    There a scale per channel costs nothing but itself: the quantizer behind it is the layer's own, and is fused with
    the operation before it. Depthwise and grouped convolutions are left out, whose weights have a scale for each of
    their few inputs anyway, and layers that share their weights.

    Args:
        quantizable: The float model and its layers.
    """
    operations = operations_by_name(quantizable.model)
    points = {point.name: point for point in quantizable.activation_points}
    unified = {name for names in quantizable.unified_scales for name in names}
    found = []
    for layer in quantizable.layers:
        if layer.kind != "convolution" or not layer.integer_kernel or len(layer.activation_quantizers) != 1:
            continue
        (name,) = layer.activation_quantizers
        point, operation = points[name], operations[layer.name]
        value = operation.input_value(layer.data_port)
        readers = {reader.get_friendly_name() for reader, _ in consumers(value)}
        if (
            readers == {layer.name}
            and _is_activation(value.get_node())
            and point.location == value.get_node().get_friendly_name()
            and name not in unified
            and has_own_constant(operation, layer.weight_port)
        ):
            found.append(layer)
    return found


def _is_activation(operation: ov.Node) -> bool:
    if operation.get_type_name() not in _ELEMENTWISE:
        return False
    return operation.get_input_size() == 1 or not any(is_constant(operation, port) for port in (0, 1))


def scale_inputs(
    quantizable: QuantizableModel,
    factors: Mapping[str, NDArray[np.uint8]],
    ignored_scopes: Sequence[str],
    per_channel_activations: bool,
) -> QuantizableModel:
    """A copy of a float model in which inputs of layers are multiplied by factors, and their weights divided by them.

    Args:
        quantizable: The float model and its layers; not edited.
        factors: Name of a convolution to a whole number, 1 or more, for each channel of its input.
        ignored_scopes: As `find_layers` was given them.
        per_channel_activations: The same.

    Returns:
        The copy and its layers, which are the same. The name of a multiplication is that of its layer with
        `SCALE_SUFFIX`; it is not quantized itself. The quantizer behind it has the name of the one that was before it.
    """
    if not factors:
        return quantizable
    model = quantizable.model.clone()
    operations = operations_by_name(model)
    for name, factor in factors.items():
        layer, operation = quantizable.layer(name), operations[name]
        values = factor.reshape(1, -1, *(1 for _ in layer.weight_shape[2:]))
        # By way of i32: OpenVINO takes bytes that are converted to f32 for a dequantization, and does not fuse them.
        floats = opset.convert(opset.convert(opset.constant(values), "i32"), "f32")
        scaled = opset.multiply(operation.input_value(layer.data_port), floats, name=name + SCALE_SUFFIX)
        operation.input(layer.data_port).replace_source_output(scaled.output(0))
        divisors: NDArray[np.float32] = values.astype(np.float32)
        replace_constant(operation, layer.weight_port, layer_weight(layer, operation) / divisors)
    model.validate_nodes_and_infer_types()
    scopes = [*ignored_scopes, *(name + SCALE_SUFFIX for name in factors)]
    found = find_layers(model, scopes, per_channel_activations)
    return _with_names(
        found, {name + SCALE_SUFFIX: quantizable.layer(name).activation_quantizers[0] for name in factors}
    )


def _with_names(quantizable: QuantizableModel, names: Mapping[str, str]) -> QuantizableModel:
    """Activation points behind multiplications under the names that they had before them: policies name them so."""
    return dataclasses.replace(
        quantizable,
        activation_points=tuple(
            dataclasses.replace(point, name=names.get(point.name, point.name), operation=point.location)
            for point in quantizable.activation_points
        ),
        layers=tuple(
            dataclasses.replace(
                layer, activation_quantizers=tuple(names.get(name, name) for name in layer.activation_quantizers)
            )
            for layer in quantizable.layers
        ),
    )


def input_factors(model: ov.Model, quantizable: QuantizableModel) -> dict[str, NDArray[np.uint8]]:
    """The factors that a model was made with.

    Args:
        model: Made by `scale_inputs`, or quantized afterwards.
        quantizable: The float model before.
    """
    names = [layer.name for layer in quantizable.layers]
    operations = operations_by_name(model)
    return {
        name: constant_value(operations[name + SCALE_SUFFIX], 1).reshape(-1).astype(np.uint8)
        for name in names
        if name + SCALE_SUFFIX in operations
    }
