"""From a policy and the weight table to the model that is scored and shipped: one look-up per layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.ir.float_layers import float_weight, keep_float, read_unquantized, set_weights
from nncf_mcq.ir.fully_connected import COMPRESSED_BITS, quantized_inputs, stays_packed
from nncf_mcq.ir.packing import (
    compressed_weight,
    folded_weight,
    int8_weight,
    packed_bytes,
    packed_weight,
    without_repeats,
    zero_point_bytes,
)
from nncf_mcq.ir.trellis_weights import gap_bytes, more_bytes, shared_bytes, trellis_weights
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import DYNAMIC_QUANTIZATION_GROUP, DYNAMIC_QUANTIZATION_PATH
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, layer_weight
from nncf_mcq.model.nodes import add_bias, constant_value, consumers, is_constant, operations_by_name
from nncf_mcq.model.product_sequences import keep_biases_apart
from nncf_mcq.policy import FLOAT_CHOICE, INT8_BITS, Policy
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.weight_table import WeightTable

_GRID_BYTES = 8
"""Two ends of the grid of an input, which a layer reads that does not stay packed."""


def assemble(
    template: ov.Model,
    quantizable: QuantizableModel,
    policy: Policy,
    table: WeightTable,
    *,
    packed: bool = True,
    packed_fully_connected: bool = False,
) -> ov.Model:
    """Puts the weights and corrected biases of a policy into a copy of the template.

    Args:
        template: The model with its activation quantizers in place; not edited.
        quantizable: Its layers.
        policy: Bits of every layer; its activation bits are already in the template. Float layers get the float
            model's weights, and their inputs from before the quantizers.
        table: Quantized weights of every layer at every width that the policy uses.
        packed: Weights at their true width, as they are shipped; otherwise as int8, which computes the same, bit for
            bit, and is compiled faster.
        packed_fully_connected: Keep the weights of large fully connected layers packed at run time, see
            `stays_packed`. The plugin then quantizes their inputs, in place of the template's quantizers. Those that
            are trellis-coded do not stay packed.

    Returns:
        The model.
    """
    model = template.clone()
    operations = operations_by_name(model)
    entries = {
        group: table[group, policy.weight_bits[group]]
        for group in quantizable.groups
        if policy.weight_bits[group] != FLOAT_CHOICE
    }
    coded = trellis_weights(
        {
            group: (quantizable.groups[group][0], entry)
            for group, entry in entries.items()
            if packed and entry.coding == "trellis"
        }
    )
    for group, members in quantizable.groups.items():
        if group not in entries:
            source = operations_by_name(quantizable.model)[members[0].name]
            kept = [float_weight(part) for part in members[0].split(layer_weight(members[0], source))]
            for member in members:
                keep_float(operations[member.name], member, kept)
            continue
        entry = entries[group]
        inputs: list[ov.Input] = []
        if (
            packed_fully_connected
            and entry.coding == "uniform"
            and all(stays_packed(layer, entry.bits, policy.activation_bits) for layer in members)
        ):
            inputs = quantized_inputs(operations[member.name].input(member.data_port) for member in members)
            for data in inputs:
                read_unquantized(data.get_node(), data.get_index())
        if group in coded:
            weights = [coded[group]]
        else:
            weights = quantized_weights(members[0], entry, packed=packed, compressed=bool(inputs))
        if inputs:
            model.set_rt_info(DYNAMIC_QUANTIZATION_GROUP, DYNAMIC_QUANTIZATION_PATH)
        for member in members:
            operation = operations[member.name]
            set_weights(operation, member, weights)
            shift = table[member.name, entry.bits].bias_shift
            if np.any(shift) and member.is_recurrent:
                _shift_gates(operation, shift)
            elif np.any(shift):
                _shift_bias(operation, member, shift.reshape(-1))
    keep_biases_apart(model)
    model.validate_nodes_and_infer_types()
    return model


def fixed_bytes(
    build: Callable[[Policy], ov.Model],
    quantizable: QuantizableModel,
    table: WeightTable,
    activation_bits: Mapping[str, int],
) -> int:
    """Bytes of the .bin that do not depend on the policy, measured on a file of the smallest width.

    With room for what other bit-widths bring: zero points that all channels share, which are stored once in the whole
    file where they are equal, grids of inputs that only layers of the smallest width do without, and what is stored
    beside trellis-coded weights.

    Args:
        build: Makes the model of a policy.
        quantizable: Its layers.
        table: Their weights at every width.
        activation_bits: Width of each activation quantizer.
    """
    smallest = {layer.name: min(table.entries[layer.name], default=FLOAT_CHOICE) for layer in quantizable.layers}
    model = build(Policy(smallest, activation_bits))
    packed = 0
    for group, members in quantizable.groups.items():
        layer = members[0]
        if smallest[group] == FLOAT_CHOICE:
            packed += layer_bytes(layer, FLOAT_CHOICE)
            continue
        entry = table[group, smallest[group]]
        zero_points = entry.zero_point.reshape(layer.channel_shape())
        packed += layer_bytes(layer, entry.bits) + zero_point_bytes(zero_points, entry.bits)
    with TemporaryDirectory() as directory:
        xml = save_atomically(model, Path(directory))
        room = _room_for_others(quantizable) + _room_for_codes(quantizable, table, smallest)
        return xml.with_suffix(".bin").stat().st_size - packed + room


def _room_for_others(quantizable: QuantizableModel) -> int:
    constants = sum(len(members[0].part_weights) for members in quantizable.groups.values())
    grids = sum(_GRID_BYTES for layer in quantizable.layers if stays_packed(layer, min(COMPRESSED_BITS), {}))
    return min(constants, 1 << INT8_BITS) + grids


def _room_for_codes(quantizable: QuantizableModel, table: WeightTable, measured: Mapping[str, int]) -> int:
    """The most bytes that trellis-coded weights of other policies take beyond `layer_bytes` and what was measured.

    Args:
        quantizable: The layers.
        table: Their weights at every width.
        measured: Bit-width of each layer in the file that was measured.
    """
    coded = {
        group: {bits for bits, entry in table.entries[group].items() if entry.coding == "trellis"}
        for group in quantizable.groups
    }
    bits = sorted(set().union(*coded.values()))
    if not bits:
        return 0
    # Small as it is, all of it: what equals another constant is not in the file that was measured.
    room = shared_bytes([quantizable.groups[group][0] for group, found in coded.items() if found], bits)
    for group, members in quantizable.groups.items():
        if not coded[group]:
            continue
        if measured[group] in coded[group]:
            room += gap_bytes(members[0], bits[-1] - measured[group])
        else:
            room += gap_bytes(members[0], bits[-1]) + more_bytes(members[0])
    return room


def layer_bytes(layer: QuantizableLayer, bits: int, *, zero_points: bool = False) -> int:
    """Bytes of a layer's weights in the file, without scales.

    Args:
        layer: The layer.
        bits: Its bit-width, or `FLOAT_CHOICE`.
        zero_points: Add the most that zero points of channels may take.
    """
    has_several = zero_points and bits < INT8_BITS and layer.output_channels > 1
    more = layer.output_channels if has_several else 0
    return more + sum(2 * count if bits == FLOAT_CHOICE else packed_bytes(count, bits) for count in layer.part_weights)


def quantized_weights(
    layer: QuantizableLayer, entry: QuantizedWeight, *, packed: bool = True, compressed: bool = False
) -> list[ov.Node]:
    """The nodes that a layer's weight inputs read.

    Args:
        layer: The layer.
        entry: Its weights.
        packed: As in `assemble`, but for trellis-coded weights, which are decoded: those are packed together.
        compressed: Whether they stay packed at run time.
    """
    if entry.coding == "trellis":
        middle = 1 << INT8_BITS - 1
        levels = (entry.integers + middle).astype(np.uint8)
        entry = replace(entry, bits=INT8_BITS, levels=levels, zero_point=np.full_like(entry.zero_point, middle))
    make: Callable[..., ov.Node] = packed_weight if packed else int8_weight
    if compressed:
        make = compressed_weight
    shape = layer.channel_shape()
    scale, zero_point = (without_repeats(values.reshape(shape)) for values in (entry.scale, entry.zero_point))
    parts = layer.split(layer.from_matrices(entry.levels))
    return for_kernel(layer, [make(part, entry.bits, scale, zero_point) for part in parts])


def for_kernel(layer: QuantizableLayer, weights: list[ov.Node]) -> list[ov.Node]:
    """Weights in the form that a layer's kernel reads: a recurrent one in floating point takes nothing but constants.

    Args:
        layer: The layer.
        weights: Of each of its ports.
    """
    return [folded_weight(weight) for weight in weights] if layer.is_recurrent and not layer.integer_kernel else weights


def _is_bias(found: tuple[int, ...], shape: list[int]) -> bool:
    """Whether a constant of one shape broadcasts to one value per output channel."""
    padded = [1] * (len(shape) - len(found)) + list(found)
    return padded == shape or all(size == 1 for size in padded)


def _shift_bias(operation: ov.Node, layer: QuantizableLayer, shift: np.ndarray) -> None:
    """Adds to the constant that is added to the layer's output, or inserts such an addition."""
    shape = list(layer.bias_shape(len(operation.get_output_partial_shape(0))))
    shift = shift.reshape(shape)
    readers = list(consumers(operation.output(0)))
    if len(readers) == 1 and readers[0][0].get_type_name() == "Add":
        addition, port = readers[0]
        if is_constant(addition, 1 - port) and _is_bias(tuple(addition.get_input_shape(1 - port)), shape):
            bias = np.broadcast_to(constant_value(addition, 1 - port), shape) + shift
            addition.input(1 - port).replace_source_output(opset.constant(bias.astype(np.float32)).output(0))
            return
    add_bias(operation, shift.astype(np.float32))


def _shift_gates(operation: ov.Node, shift: np.ndarray) -> None:
    """Adds to the bias of a recurrent operation, its last input (directions, gates)."""
    port = operation.get_input_size() - 1
    bias = constant_value(operation, port) + shift
    operation.input(port).replace_source_output(opset.constant(bias.astype(np.float32)).output(0))
