"""What the file of any model holds, and what it runs in: the float model's, NNCF INT8's."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import openvino as ov

from nncf_mcq.config.output_files import ModelFile
from nncf_mcq.ir.float_weights import weight_ports
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.model.inference import compile_model, core
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.nodes import RESHAPING, constant_of, source
from nncf_mcq.policy import INT8_BITS, INTEGER_PRECISIONS

_DEQUANTIZATION = RESHAPING | {"Convert", "FakeQuantize", "Multiply", "Subtract"}
"""Operations between the constant of a layer's weights and the layer."""


def describe_file(xml: Path, layers: Collection[str], threads: int | None) -> ModelFile:
    """The bit-width of the weights in an IR, and the layers that run on int8 kernels.

    Args:
        xml: The IR.
        layers: Names of the layers that count.
        threads: Inference threads; None where it is not for this device, so that nothing is known of its kernels.
    """
    model = core().read_model(xml)
    bits = stored_weight_bits(model, layers)
    if threads is None:
        return ModelFile(average_weight_bits=bits)
    precisions = runtime_precisions(compile_model(model, threads), model)
    integer = sum(precisions.get(name) in INTEGER_PRECISIONS for name in layers)
    return ModelFile(average_weight_bits=bits, integer_layers=integer, layers=len(layers))


def stored_weight_bits(model: ov.Model, layers: Collection[str]) -> float | None:
    """Mean bit-width over all weights, as they are stored; None of a model without weights.

    Args:
        model: A model as it is read from a file.
        layers: Names of its layers.
    """
    found: dict[str, ov.Node] = {}
    for operation in model.get_ordered_ops():
        constants = [constant_of(operation, port) for port in weight_ports(operation, layers)]
        constants += [_behind(operation, port) for port in WEIGHT_PORTS.get(operation.get_type_name(), ())]
        found |= {constant.get_name(): constant for constant in constants if _holds_weights(constant)}
    counted = [(math.prod(item.get_output_shape(0)), int(item.get_element_type().bitwidth)) for item in found.values()]
    total = sum(weights for weights, _ in counted)
    return sum(weights * bits for weights, bits in counted) / total if total else None


def _holds_weights(node: ov.Node) -> bool:
    """Whether it is a constant, and not one of indices or shapes."""
    if node.get_type_name() != "Constant":
        return False
    kind = node.get_element_type()
    return bool(kind.is_real() or kind.bitwidth <= INT8_BITS)


def _behind(operation: ov.Node, port: int) -> ov.Node:
    """The operation that a layer's input comes from, before any dequantization."""
    node = source(operation, port)
    while node.get_type_name() in _DEQUANTIZATION:
        node = source(node, 0)
    return node
