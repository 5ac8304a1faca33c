"""Why a layer of a quantized model runs in floating point.

The CPU plugin says nothing when it leaves the integers, so it is asked: the layer is compiled by itself with a
FakeQuantize directly in front of it, then with one operation more between the two, and so on back to the FakeQuantize
of the model. The operation at which the layer falls out of int8 is the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.nodes import LAYER_TYPES, constant_operations
from nncf_mcq.policy import INT8_PRECISIONS

WEIGHTS_NOT_QUANTIZED = "its weights are not quantized"

_SHOWN = 3
"""Names in a sentence."""

# What the plugin runs on integers; any other number of levels is computed in floating point.
_WEIGHT_LEVELS = (255, 256)
_ACTIVATION_LEVELS = (15, 16, 255, 256)

# Axes of the weights along which the scale may change: those of the output channels.
_CHANNEL_AXES: dict[str, Set[int]] = {
    "Convolution": {0},
    "GroupConvolution": {0, 1},
    "ConvolutionBackpropData": {1},
    "GroupConvolutionBackpropData": {0, 2},
    "LSTMSequence": {0, 1},
    "GRUSequence": {0, 1},
}


def float_cause(model: ov.Model, layer: ov.Node) -> str:
    """Finds the likely cause that a layer is not run on integers.

    Args:
        model: The model as it stands in the file, with names that are unique; not edited.
        layer: One of its convolutions or MatMul operations, which the plugin runs in floating point.

    Returns:
        Words that follow "it runs in f32: ".
    """
    constant = constant_operations(model)
    weights = [
        layer.input_value(port).get_node()
        for port in WEIGHT_PORTS[layer.get_type_name()]
        if layer.input_value(port).get_node().get_name() in constant
    ]
    if weights and not _is_quantized(weights[0]):
        return WEIGHTS_NOT_QUANTIZED
    operations, quantizers, origin = _path(layer, constant)
    if origin is not None:
        return f"its input is not quantized: it comes from {_label(origin)} without a FakeQuantize"
    problem = (_weight_problem(layer, weights[0]) if weights else None) or _quantizer_problem(layer, quantizers)
    if problem is not None:
        return problem
    low, high = (_extreme(quantizers, port) for port in (3, 4))
    for count in range(len(operations) + 1):
        if not _runs_in_int8(model, [layer, *operations[:count]], low, high):
            if count == 0:
                return f"the plugin has no int8 kernel for it, {_label(layer)} of {_shapes(layer)}"
            return f"the plugin does not run {_label(operations[count - 1])} on integers, which hands it its input"
    return "by itself it would run in int8: something around it keeps the plugin from that"


def float_sentences(layers: Iterable[tuple[str, str | None, str]]) -> Iterator[str]:
    """One sentence for all layers that run in floating point for the same cause.

    Args:
        layers: Name, precision (None where the plugin does not tell) and cause of each.
    """
    names: dict[tuple[str | None, str], list[str]] = {}
    for name, precision, cause in layers:
        names.setdefault((precision, cause), []).append(name)
    for (precision, cause), alike in names.items():
        shown = ", ".join(repr(name) for name in alike[:_SHOWN])
        more = f" and {len(alike) - _SHOWN} more" if len(alike) > _SHOWN else ""
        one = len(alike) == 1
        found = "not found among those that run" if precision is None else f"{'runs' if one else 'run'} in {precision}"
        yield f"{'layer' if one else f'{len(alike)} layers'} {shown}{more} {found}: {cause}"


def _upwards(node: ov.Node) -> Iterator[ov.Node]:
    """A node of a constant subgraph and all that it is computed from."""
    pending, seen = [node], set()
    while pending:
        node = pending.pop()
        if node.get_name() not in seen:
            seen.add(node.get_name())
            yield node
            pending.extend(value.get_node() for value in node.input_values())


def _is_quantized(weights: ov.Node) -> bool:
    """Whether weights pass a FakeQuantize, or are converted from integers."""
    return any(
        node.get_type_name() == "FakeQuantize"
        or (node.get_type_name() == "Convert" and node.get_input_element_type(0).is_integral_number())
        for node in _upwards(weights)
    )


def _is_data(value: ov.Output, constant: Set[str]) -> bool:
    """Whether an input takes activations, and not a constant, a shape or an index."""
    return value.get_node().get_name() not in constant and value.get_element_type().is_real()


def _path(layer: ov.Node, constant: Set[str]) -> tuple[list[ov.Node], list[ov.Node], ov.Node | None]:
    """The operations between a layer and the FakeQuantize nodes that its input comes from.

    Returns:
        The operations, the nearest first; the FakeQuantize nodes; and where the input comes from, if a way back leads
        to another layer or to the model's input without a FakeQuantize.
    """
    operations: list[ov.Node] = []
    quantizers: list[ov.Node] = []
    pending, seen = [layer], {layer.get_name()}
    for node in pending:
        for value in node.input_values():
            source = value.get_node()
            if not _is_data(value, constant) or source.get_name() in seen:
                continue
            seen.add(source.get_name())
            if source.get_type_name() == "FakeQuantize":
                quantizers.append(source)
            elif source.get_type_name() in LAYER_TYPES or not source.input_values():
                return operations, quantizers, operations[0] if operations else source
            else:
                operations.append(source)
                pending.append(source)
    return operations, quantizers, None


def _weight_problem(layer: ov.Node, weights: ov.Node) -> str | None:
    nodes = list(_upwards(weights))
    allowed = _CHANNEL_AXES.get(layer.get_type_name())
    if allowed is None:
        rank = len(weights.get_output_partial_shape(0))
        transposed = layer.get_attributes()["transpose_b"]
        allowed = {rank - 2} if transposed else {rank - 1}
    for node in nodes:
        kind = node.get_type_name()
        if kind == "FakeQuantize":
            levels = node.get_attributes()["levels"]
            if levels not in _WEIGHT_LEVELS:
                return f"a FakeQuantize of {levels} levels quantizes its weights, the plugin knows 255 and 256"
            scale: ov.Node | None = node.input_value(4).get_node()
        elif kind == "Multiply":
            scale = next((item for item in _operands(node) if item.get_type_name() == "Constant"), None)
        else:
            continue
        shape = [] if scale is None else list(scale.get_output_shape(0))
        rank = len(weights.get_output_partial_shape(0))
        varying = {axis + rank - len(shape) for axis, size in enumerate(shape) if size > 1}
        if len(shape) <= rank and not varying <= allowed:
            return "its weights have more scales than one for each output channel"
    if any(node.get_type_name() == "Subtract" and node.get_element_type().is_real() for node in nodes):
        return "its weights have a zero point"
    return None


def _quantizer_problem(layer: ov.Node, quantizers: Sequence[ov.Node]) -> str | None:
    for quantizer in quantizers:
        levels = quantizer.get_attributes()["levels"]
        if levels not in _ACTIVATION_LEVELS:
            known = "15, 16, 255 and 256"
            return f"FakeQuantize '{quantizer.get_friendly_name()}' has {levels} levels, the plugin knows {known}"
        is_per_channel = any(np.prod(quantizer.get_input_shape(port)) > 1 for port in (1, 2, 3, 4))
        if is_per_channel and layer.get_type_name() != "GroupConvolution":
            return f"FakeQuantize '{quantizer.get_friendly_name()}' has a range for each channel of its input"
    return None


def _operands(node: ov.Node) -> Iterator[ov.Node]:
    return (value.get_node() for value in node.input_values())


def _extreme(quantizers: Sequence[ov.Node], port: int) -> np.float32:
    """The lowest or the highest end of the ranges; those of unit size where they are no constants."""
    ends = [_values(quantizer.input_value(port).get_node()) for quantizer in quantizers]
    values = np.concatenate([end for end in ends if end is not None] or [np.array([-1.0 if port == 3 else 1.0])])
    return np.float32(values.min() if port == 3 else values.max())


def _values(node: ov.Node) -> np.ndarray | None:
    return np.ravel(node.get_data(dtype=np.float32)) if node.get_type_name() == "Constant" else None


def _runs_in_int8(model: ov.Model, part: Sequence[ov.Node], low: np.float32, high: np.float32) -> bool:
    """Whether the first operation of a part of the model runs in int8, where all inputs of the part are quantized."""
    copy = model.clone()
    constant = constant_operations(copy)
    names = {node.get_friendly_name() for node in part}
    operations = {node.get_friendly_name(): node for node in copy.get_ops()}
    inside = {operations[name].get_name() for name in names}
    parameters: list[ov.Node] = []
    for name in names:
        for target in operations[name].inputs():
            value = target.get_source_output()
            if not _is_data(value, constant) or value.get_node().get_name() in inside:
                continue
            parameters.append(opset.parameter(value.get_partial_shape(), value.get_element_type()))
            ends = [opset.constant(end) for end in (low, high)]
            target.replace_source_output(opset.fake_quantize(parameters[-1], *ends, *ends, 256).output(0))
    layer = operations[part[0].get_friendly_name()]
    # Shapes may be computed from the model's own inputs.
    alone = ov.Model([layer.output(0)], [*copy.get_parameters(), *parameters], "part")
    try:
        precisions = runtime_precisions(compile_model(alone, 1), alone)
    except QuantizationError:
        # No part that can be run by itself: nothing is learnt from it.
        return True
    return precisions.get(layer.get_friendly_name()) in INT8_PRECISIONS


def _label(node: ov.Node) -> str:
    return f"{node.get_type_name()} '{node.get_friendly_name()}'"


def _shapes(layer: ov.Node) -> str:
    return " and ".join(str(layer.get_input_partial_shape(port)) for port in range(2))
