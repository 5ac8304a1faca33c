"""The precision that each layer of a compiled model runs in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openvino as ov

from nncf_mcq.model.nodes import LAYER_TYPES
from nncf_mcq.policy import INT8_PRECISIONS

_RUNTIME_LAYER_TYPES = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})

# A bidirectional layer becomes two of these, with names of their own, whose outputs are joined under its name.
_RECURRENT_LAYERS = frozenset({"RNNSeq", "RNNCell"})
_JOINED = "Concatenation"

# A sequence of small MatMul layers becomes one node, whose precision is that of its output.
_FUSED_LAYERS = "Subgraph"

# What the plugin appends to the name of a layer when it moves the dequantization behind it.
_RENAMED_SUFFIXES = ("_original", "/DequantizationMultiply", "/DequantizationSubtract")


def runtime_precisions(compiled: ov.CompiledModel, model: ov.Model) -> dict[str, str]:
    """The precision that each layer of a model runs in.

    Args:
        compiled: The compiled model.
        model: The model that was compiled.

    Returns:
        Friendly name of each layer, see `LAYER_TYPES`, to its `runtimePrecision`, e.g. "i8", "u8", "f32". One that the
        plugin removed is missing.
    """
    return {name: _precision(node) for name, node in runtime_layers(compiled.get_runtime_model(), model).items()}


def runtime_layers(runtime_model: ov.Model, model: ov.Model) -> dict[str, ov.Node]:
    """The node of the compiled graph that each layer of a model became.

    The plugin fuses and renames: a layer is found under its own name, under its name with a suffix that the plugin
    appends, or, where an addition of zeros was removed and left its name to the layer, under that of an operation that
    only this layer feeds.

    Args:
        runtime_model: Of the compiled model.
        model: The model that was compiled.

    Returns:
        Friendly name of each layer, see `LAYER_TYPES`, to the node. One that the plugin removed is missing.
    """
    by_name: dict[str, ov.Node] = {}
    for node in runtime_model.get_ordered_ops():
        information = node.get_rt_info()
        kind = text_of(information, "layerType")
        if kind not in (*_RUNTIME_LAYER_TYPES, *_RECURRENT_LAYERS, _FUSED_LAYERS):
            continue
        names = [node.get_friendly_name(), *text_of(information, "originalLayersNames").split(",")]
        for name in names:
            by_name.setdefault(_without_suffixes(name), node)
        for name in _joined_names(node) if kind in _RECURRENT_LAYERS else ():
            # Of two directions the one that is not on integers.
            if name not in by_name or _precision(node) not in INT8_PRECISIONS:
                by_name[name] = node
    layers: dict[str, ov.Node] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() not in LAYER_TYPES:
            continue
        found = [by_name[name] for name in _names_it_may_have(node) if name in by_name]
        if found:
            layers[node.get_friendly_name()] = found[0]
    return layers


def text_of(information: Any, key: str) -> str:
    """A value of the information that a node of a compiled graph carries; empty where there is none of that name."""
    return str(information[key].astype(str)) if key in information else ""


def _precision(node: ov.Node) -> str:
    information = node.get_rt_info()
    is_fused = text_of(information, "layerType") == _FUSED_LAYERS
    return _subgraph_precision(node) if is_fused else text_of(information, "runtimePrecision")


def _subgraph_precision(node: ov.Node) -> str:
    """The precision of the weights that a fused sequence reads: they stay integers only for integer kernels."""
    weights = [
        text_of(source.get_rt_info(), "runtimePrecision")
        for source in (value.get_node() for value in node.input_values())
        if text_of(source.get_rt_info(), "layerType") == "Const" and len(source.get_output_partial_shape(0)) == 2
    ]
    integer = next((precision for precision in weights if precision in INT8_PRECISIONS), None)
    return integer or text_of(node.get_rt_info(), "runtimePrecision")


def _joined_names(layer: ov.Node) -> Iterator[str]:
    """Names of the operations whose outputs are put together from those of one direction."""
    pending = [layer]
    while pending:
        for output in pending.pop().outputs():
            for target in output.get_target_inputs():
                reader = target.get_node()
                kind = text_of(reader.get_rt_info(), "layerType")
                if kind == _JOINED:
                    yield reader.get_friendly_name().rpartition(".")[0]
                elif kind in ("Reorder", "Reshape", "Transpose", _FUSED_LAYERS):
                    # The quantizer behind it may have come between.
                    pending.append(reader)


def _without_suffixes(name: str) -> str:
    for suffix in _RENAMED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _names_it_may_have(layer: ov.Node) -> Iterator[str]:
    """The layer's name, then those of the operations that it alone feeds, up to the next activation."""
    node = layer
    while True:
        yield node.get_friendly_name()
        consumers = list(node.output(0).get_target_inputs())
        if len(consumers) != 1:
            return
        node = consumers[0].get_node()
        activations = [value for value in node.input_values() if value.get_node().get_type_name() != "Constant"]
        if len(activations) != 1 or node.get_type_name() in LAYER_TYPES or node.get_type_name() == "Result":
            return
