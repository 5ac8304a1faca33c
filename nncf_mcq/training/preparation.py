"""From a quantized model to a module that trains: all numbers are read from the model itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.float_layers import set_weights
from nncf_mcq.ir.grid_reading import equal_grids, take_grids
from nncf_mcq.ir.packing import UnpackedWeight, unpack_weight
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.nodes import constant_of, constant_value, consumers, is_constant, operations_by_name, source
from nncf_mcq.model.torch_graph import TorchGraph
from nncf_mcq.result import QuantizationResult
from nncf_mcq.training.module import QuantizedNetwork, Source, TrainingModule
from nncf_mcq.training.quantizers import (
    ActivationQuantizer,
    Bias,
    CodedWeights,
    FloatWeights,
    LayerWeights,
    QuantizedWeights,
)
from nncf_mcq.weights.level_range import level_range


def make_module(network: QuantizedNetwork, result: QuantizationResult | None = None) -> TrainingModule:
    """A quantized model as a module whose parameters can be trained.

    Args:
        network: The quantized model; not edited.
        result: Whose model it is, for `finish_training`.

    Raises:
        QuantizationError: The model has an operation that is not known in PyTorch.
    """
    quantizable = network.quantizable
    model = network.model.clone()
    grids = take_grids(model, [point.fake_quantize_name for point in quantizable.activation_points])
    names = {point.name: point.fake_quantize_name for point in quantizable.activation_points}
    unified = [[names[name] for name in group if names[name] in grids] for group in quantizable.unified_scales]
    groups = tuple(equal_grids(model, grids, unified))
    activations = [
        ActivationQuantizer(grids[name].step, grids[name].zero_point, grids[name].bits) for name, *_ in groups
    ]
    operations = operations_by_name(model)
    quantized, members = [], []
    for name, layers in quantizable.groups.items():
        if name in network.policy.float_layers:
            continue
        weight = _unpacked(operations[name], layers[0])
        quantized.append(_layer_weights(network.weights, layers[0], weight))
        members.append(tuple(layer.name for layer in layers))
        for layer in layers:
            parts = layer.split(np.asarray(weight.values, dtype=np.float32))
            set_weights(operations[layer.name], layer, [opset.constant(part) for part in parts])
    model.validate_nodes_and_infer_types()

    biases = {addition: Bias(values, port) for addition, values, port in _biases(model)}
    functions = dict(biases) | {
        name: quantizer for quantizer, group in zip(activations, groups, strict=True) for name in group
    }
    graph = TorchGraph(model, functions)
    floats = _float_groups(model, [name for name in graph.layers if not any(name in group for group in members)])
    return TrainingModule(
        graph,
        TorchGraph(quantizable.model),
        quantized,
        [FloatWeights(graph.weight(group[0]).numpy(), _is_half(operations[group[0]])) for group in floats],
        list(biases.values()),
        activations,
        Source(network, result, tuple(members), floats, tuple(biases), groups),
    )


def _unpacked(operation: ov.Node, layer: QuantizableLayer) -> UnpackedWeight:
    """The levels of a layer in its `weight_shape`."""
    parts = [unpack_weight(source(operation, port)) for port in layer.weight_ports]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        raise QuantizationError(f"{layer.name}: its weights are not those that the policy tells of")
    if len(found) == 1:
        return found[0]
    levels = np.concatenate([part.levels for part in found], axis=-1)
    return UnpackedWeight(levels, found[0].bits, found[0].scale, found[0].zero_point)


def _layer_weights(config: WeightsConfig, layer: QuantizableLayer, weight: UnpackedWeight) -> LayerWeights:
    shape = layer.channel_shape()
    # What is equal in all channels is stored once.
    scale = np.broadcast_to(weight.scale, shape if config.per_channel else (1,) * len(shape)).astype(np.float32)
    if weight.coding == "trellis":
        return CodedWeights(weight.levels, weight.integers, scale, weight.bits)
    levels = level_range(layer, weight.bits, config)
    return QuantizedWeights(
        weight.levels.astype(np.uint8),
        np.broadcast_to(weight.zero_point, shape).astype(np.uint8),
        scale,
        weight.bits,
        lowest=levels.lowest,
        highest=levels.highest,
    )


def _biases(model: ov.Model) -> Iterator[tuple[str, NDArray[np.float32], int]]:
    """Name of the addition, values and input port of each constant that is added to the output of a layer."""
    for operation in model.get_ordered_ops():
        ports = WEIGHT_PORTS.get(operation.get_type_name(), ())
        if not any(is_constant(operation, port) for port in ports):
            continue
        readers = list(consumers(operation.output(0)))
        if len(readers) != 1 or readers[0][0].get_type_name() != "Add":
            continue
        addition, port = readers[0]
        if is_constant(addition, 1 - port):
            yield addition.get_friendly_name(), constant_value(addition, 1 - port), 1 - port


def _float_groups(model: ov.Model, names: list[str]) -> tuple[tuple[str, ...], ...]:
    """Operations by the constants that they read as weights."""
    operations = operations_by_name(model)
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in names:
        operation = operations[name]
        ports = float_ports(operation)
        key = tuple((constant_of(operation, port).get_name(), *operation.get_input_shape(port)) for port in ports)
        groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values())


def float_ports(operation: ov.Node) -> tuple[int, ...]:
    """Input ports of the weights of a layer in floating point; of a MatMul the right one."""
    kind = operation.get_type_name()
    return (1,) if kind == "MatMul" else WEIGHT_PORTS[kind]


def _is_half(operation: ov.Node) -> bool:
    return bool(constant_of(operation, float_ports(operation)[0]).get_element_type() == ov.Type.f16)
