"""Low-bit weights in the one form that the compilers of GPU and NPU match.

It is NNCF's own form, and that of `CompressedWeightsBlock` and of the GPU plugin's patterns in OpenVINO's sources::

    i4 constant ------------------------------------------> Convert(f32) -> Multiply(scale)
    u4 constant -> Convert(f32) -> Subtract(Convert(f32) <- u4 zero points) -> Multiply(scale)

The first is for weights whose zero points are all in the middle: the NPU's compiler takes those for signed integers,
and leaves others alone. The integers and the scale are those of `nncf_mcq.ir.packing`, so the weights are equal bit for
bit. On a CPU a convolution with such weights runs in floating point.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.packing import UnpackedWeight, unpack_weight
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.policy import INT8_BITS

_SIGNED, _UNSIGNED = {4: ov.Type.i4, INT8_BITS: ov.Type.i8}, {4: ov.Type.u4, INT8_BITS: ov.Type.u8}

_RECURRENT = {"LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell"}
"""Their weights are folded to floating point by every plugin."""


def plain_weight(weight: UnpackedWeight) -> ov.Node:
    """Builds the subgraph scale * (levels - zero_point).

    Args:
        weight: Of 4 or 8 bits.

    Returns:
        A node of element type f32 and the shape of the weight.

    Raises:
        QuantizationError: It has other bits.
    """
    bits, middle = weight.bits, 2 ** (weight.bits - 1)
    if bits not in _SIGNED:
        raise QuantizationError(f"weight bits: found {bits}, allowed in the form of GPU and NPU: {sorted(_SIGNED)}")
    scale = opset.constant(weight.scale.astype(np.float32))
    if np.all(weight.zero_point == middle):
        signed = (weight.levels.astype(np.int16) - middle).astype(np.int8)
        return opset.multiply(opset.convert(opset.constant(signed, dtype=_SIGNED[bits]), "f32"), scale)
    levels, zero_points = (
        opset.convert(opset.constant(values.astype(np.uint8), dtype=_UNSIGNED[bits]), "f32")
        for values in (weight.levels, weight.zero_point)
    )
    return opset.multiply(opset.subtract(levels, zero_points), scale)


def with_plain_weights(model: ov.Model) -> ov.Model:
    """A copy of a quantized model with its weights in that form.

    Args:
        model: With weights as `nncf_mcq.ir.packing` writes them.

    Raises:
        QuantizationError: Weights have bits that the form does not have, are not the same in it, or are trellis-coded.
    """
    copy = model.clone()
    made: dict[str, ov.Node] = {}
    for operation in copy.get_ordered_ops():
        kind = operation.get_type_name()
        if kind in _RECURRENT:
            continue
        for port in WEIGHT_PORTS.get(kind, ()):
            source = operation.input_value(port).get_node()
            found = unpack_weight(source)
            if found is None:
                continue
            name = source.get_name()
            if found.coding == "trellis":
                raise QuantizationError(
                    f"{operation.get_friendly_name()}: trellis-coded weights run on CPUs only, "
                    'for other devices set compression.weights.coding to "uniform"'
                )
            if name not in made:
                made[name] = plain_weight(found)
                _check(found, made[name], operation.get_friendly_name())
            operation.input(port).replace_source_output(made[name].output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def _check(weight: UnpackedWeight, plain: ov.Node, layer: str) -> None:
    """Computes the weight from the constants that will be in the file."""
    integers, scale = (plain.input_value(index).get_node() for index in (0, 1))
    parts = [integers] if integers.get_type_name() == "Convert" else [v.get_node() for v in integers.input_values()]
    values = [part.input_value(0).get_node().get_data(dtype=np.float32) for part in parts]
    found = (values[0] - values[1] if len(values) > 1 else values[0]) * scale.get_data()
    if not np.array_equal(found, weight.values):
        raise QuantizationError(f"{layer}: its weights are not the same in the form of GPU and NPU")
