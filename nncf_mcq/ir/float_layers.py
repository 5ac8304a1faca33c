"""Layers and weights that stay in floating point in an otherwise quantized model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.nodes import constant_of, is_constant, operations_by_name

_SMALLEST_HALVED = 64
"""Weights; the conversion of fewer takes more bytes in the .xml than it saves in the .bin."""

_LARGEST_ERROR = 1e-6
"""Of f16, relative to the sum of squares: about twenty times what its rounding leaves of numbers that it can hold."""


def float_weight(weight: NDArray[np.float32]) -> ov.Node:
    """A weight that is stored as f16 and read as f32; as f32 where f16 cannot hold it.

    `save_model(compress_to_fp16=True)` would not do it: it leaves models alone that hold a FakeQuantize.

    Args:
        weight: In the shape of the weight input.
    """
    if not fits_half(weight):
        return opset.constant(weight)
    return opset.convert(opset.constant(weight.astype(np.float16)), "f32")


def fits_half(weight: NDArray[np.float32]) -> bool:
    """Whether f16 holds the values of a weight: none is too large, and no more is lost than by rounding."""
    with np.errstate(over="ignore"):
        halved = weight.astype(np.float16).astype(np.float64)
    if not np.isfinite(halved).all():
        return False
    return bool(np.square(halved - weight).sum() <= _LARGEST_ERROR * np.square(weight, dtype=np.float64).sum())


def store_as_half(model: ov.Model, quantized: Collection[str] = ()) -> None:
    """Stores the weights that stay float as f16, for the model that is scored as for the file.

    Only what a layer multiplies or looks up: biases, scales, and tables that are added to activations stay as they are.

    Args:
        model: Edited.
        quantized: Friendly names of operations whose weights are quantized.
    """
    for operation in model.get_ops():
        if operation.get_friendly_name() in quantized:
            continue
        for port in WEIGHT_PORTS.get(operation.get_type_name(), ()):
            if not is_constant(operation, port):
                continue
            constant = constant_of(operation, port)
            if constant.get_element_type() != ov.Type.f32:
                continue
            weight = np.array(constant.get_data())
            if weight.size >= _SMALLEST_HALVED and fits_half(weight):
                constant.output(0).replace(float_weight(weight).output(0))


def keep_float(operation: ov.Node, layer: QuantizableLayer, weights: Sequence[ov.Node]) -> None:
    """Gives a layer float weights, and its input as it is before the quantizers that stand directly in front of it.

    Args:
        operation: The layer's operation in a model with quantizers; edited.
        layer: The layer.
        weights: What its weight inputs read.
    """
    set_weights(operation, layer, weights)
    read_unquantized(operation, layer.data_port)


def set_weights(operation: ov.Node, layer: QuantizableLayer, weights: Sequence[ov.Node]) -> None:
    """Gives a layer other weights.

    Args:
        operation: The layer's operation; edited.
        layer: The layer.
        weights: What its weight inputs read.
    """
    for port, weight in zip(layer.weight_ports, weights, strict=True):
        operation.input(port).replace_source_output(weight.output(0))


def replace_weights(
    model: ov.Model, quantizable: QuantizableModel, make: Callable[[QuantizableLayer, ov.Node], Sequence[ov.Node]]
) -> ov.Model:
    """Gives all layers of a model other weights.

    Args:
        model: With the layers' operations; edited.
        quantizable: The float model and its layers.
        make: From the first layer that reads a weight, and its operation in the float model, to what all of them read.

    Returns:
        The same model.
    """
    operations, floats = operations_by_name(model), operations_by_name(quantizable.model)
    for members in quantizable.groups.values():
        weights = make(members[0], floats[members[0].name])
        for layer in members:
            set_weights(operations[layer.name], layer, weights)
    model.validate_nodes_and_infer_types()
    return model


def read_unquantized(operation: ov.Node, port: int) -> None:
    """Takes an input from before the quantizers that stand directly in front of it; they stay where others read them.

    Args:
        operation: Edited.
        port: Its input port.
    """
    data = operation.input(port)
    while data.get_source_output().get_node().get_type_name() == "FakeQuantize":
        data.replace_source_output(data.get_source_output().get_node().input_value(0))
