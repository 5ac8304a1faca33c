"""What stays in floating point in a quantized model, and the average bit-width of all weights of its file."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence

import openvino as ov

from nncf_mcq.config.output_files import FloatWeight
from nncf_mcq.model.layer_forms import STATE_PORTS, WEIGHT_PORTS
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.nodes import RESHAPING, constant_of, is_constant, source
from nncf_mcq.policy import FLOAT_CHOICE, Policy

_NO_READERS = RESHAPING | {"Convert", "FakeQuantize", "RNNSequence", "ShapeOf", *STATE_PORTS}
"""Operations that pass a constant on or look at its shape, or whose constants are ranges, biases or states."""


def find_float_weights(model: ov.Model, quantizable: QuantizableModel, policy: Policy) -> list[FloatWeight]:
    """The weights of layers, and the tables of at least two dimensions, that are stored as floating-point numbers.

    Biases, scales and the ranges of quantizers are no weights. A constant counts once, however many read it.

    Args:
        model: The quantized model, or the float model, of which the layers' weights are then left out.
        quantizable: The layers of the float model.
        policy: Their bits.

    Returns:
        The largest first.
    """
    found: dict[str, FloatWeight] = {}
    quantized = {
        (layer.name, port)
        for layer in quantizable.layers
        if not _is_float(layer, policy)
        for port in layer.weight_ports
    }
    layers = {layer.name for layer in quantizable.layers}
    for operation in model.get_ordered_ops():
        for port in weight_ports(operation, layers):
            constant = constant_of(operation, port)
            if constant.get_element_type().is_real() and (operation.get_friendly_name(), port) not in quantized:
                found.setdefault(constant.get_name(), _describe(operation, port, constant, quantizable, policy))
    total = sum(members[0].weights for members in quantizable.groups.values() if not _is_float(members[0], policy))
    total += sum(item.weights for item in found.values())
    shared = [item.model_copy(update={"share": item.weights / total}) for item in found.values()]
    return sorted(shared, key=lambda item: -item.weights)


def average_weight_bits(quantizable: QuantizableModel, policy: Policy, floats: Sequence[FloatWeight]) -> float:
    """Mean bit-width over all weights of the file, those in floating point included.

    Args:
        quantizable: The layers.
        policy: Their bits.
        floats: What stays in floating point.
    """
    quantized = [members[0] for members in quantizable.groups.values() if not _is_float(members[0], policy)]
    counted = [(layer.weights, policy.weight_bits[layer.name]) for layer in quantized]
    counted += [(item.weights, item.bits) for item in floats]
    return sum(weights * bits for weights, bits in counted) / sum(weights for weights, _ in counted)


def _is_float(layer: QuantizableLayer, policy: Policy) -> bool:
    return policy.weight_bits[layer.name] == FLOAT_CHOICE


def weight_ports(operation: ov.Node, layers: Collection[str]) -> Iterator[int]:
    """The inputs of an operation that are constants of weights: of a layer, or tables of at least two dimensions.

    Args:
        operation: Any.
        layers: Names of the quantizable layers.
    """
    kind = operation.get_type_name()
    for port in range(operation.get_input_size()):
        if port in WEIGHT_PORTS.get(kind, ()):
            if is_constant(operation, port):
                yield port
        elif (
            kind not in _NO_READERS and is_constant(operation, port) and not _is_scale_or_bias(operation, port, layers)
        ):
            shape = constant_of(operation, port).get_output_shape(0)
            if sum(size > 1 for size in shape) > 1:
                yield port


def _is_scale_or_bias(operation: ov.Node, port: int, layers: Collection[str]) -> bool:
    """Whether integers of a quantized weight are multiplied by it, or it is added to the output of a layer."""
    if operation.get_input_size() != 2:
        return False
    other, kind = source(operation, 1 - port), operation.get_type_name()
    if kind == "Multiply":
        while other.get_type_name() == "Convert" and source(other, 0).get_type_name() == "Convert":
            other = source(other, 0)
        return bool(other.get_type_name() == "Convert" and not other.get_input_element_type(0).is_real())
    if kind != "Add":
        return False
    ports = WEIGHT_PORTS.get(other.get_type_name(), ())
    return other.get_friendly_name() in layers or any(is_constant(other, port) for port in ports)


def _describe(
    operation: ov.Node, port: int, constant: ov.Node, quantizable: QuantizableModel, policy: Policy
) -> FloatWeight:
    name, kind = operation.get_friendly_name(), operation.get_type_name()
    scope = quantizable.ignored_scope
    reason = "NNCF does not quantize it" if port in WEIGHT_PORTS.get(kind, ()) else "it is not multiplied by a layer"
    if name in quantizable.unsupported:
        reason = quantizable.unsupported[name]
    elif name in scope.names or any(re.match(pattern, name) for pattern in scope.patterns):
        reason = "it is in ignored_scopes"
    for layer in quantizable.layers:
        if layer.name == name and port in layer.weight_ports:
            name, kind, reason = layer.name, layer.kind, "the policy leaves it in floating point"
            break
    weights, bits = math.prod(constant.get_output_shape(0)), int(constant.get_element_type().bitwidth)
    return FloatWeight(name=name, kind=kind, weights=weights, share=0.0, bits=bits, reason=reason)
