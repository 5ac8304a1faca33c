"""Fully connected layers whose weights stay packed at run time.

The CPU plugin computes a MatMul with `compressed_weight` from the packed weights, and quantizes its input by itself: to
8 bits, with one scale for each `DYNAMIC_QUANTIZATION_GROUP` values. Where the weights take longer to read than to
multiply, which is so for few rows, that is faster than int8, and takes half or a quarter of the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import openvino as ov

from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.policy import INT8_BITS

COMPRESSED_BITS = frozenset({2, 4})
"""Widths that the plugin keeps: weights of 1, 3 and 6 bits it unpacks to floats, and 8 bits are slower than int8."""

SMALLEST_COMPRESSED = 2**20
"""Weights; a layer of half as many is as fast in int8."""

_RESHAPING = frozenset({"Reshape", "Squeeze", "Unsqueeze"})


def stays_packed(layer: QuantizableLayer, bits: int, activation_bits: Mapping[str, int]) -> bool:
    """Whether the weights of a layer can stay packed, and gain by it.

    Args:
        layer: The layer.
        bits: Of its weights.
        activation_bits: Of the activation quantizers; the plugin knows 8 bits only.
    """
    return (
        layer.kind == "matmul"
        and layer.integer_kernel
        and layer.groups == 1
        and bits in COMPRESSED_BITS
        and layer.macs == layer.weights >= SMALLEST_COMPRESSED
        and all(activation_bits.get(name, INT8_BITS) == INT8_BITS for name in layer.activation_quantizers)
    )


def quantized_inputs(data: Iterable[ov.Input]) -> list[ov.Input]:
    """The inputs that read the quantizers of layers, which may stand in front of reshapes.

    Args:
        data: The data input of each layer.

    Returns:
        For each the input itself or that of the first reshape; none at all where one of them has no quantizer, or where
        others read what lies between.
    """
    found = [_quantized_input(item) for item in data]
    return [item for item in found if item is not None] if None not in found else []


def _quantized_input(data: ov.Input) -> ov.Input | None:
    while True:
        source = data.get_source_output()
        node = source.get_node()
        if node.get_type_name() == "FakeQuantize":
            return data
        if node.get_type_name() not in _RESHAPING or len(source.get_target_inputs()) > 1:
            return None
        data = node.input(0)
