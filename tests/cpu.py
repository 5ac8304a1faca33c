"""What the integer kernels of the CPU that runs the tests can add up."""

from __future__ import annotations

import functools

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.ir.packing import packed_weight
from nncf_mcq.model.inference import compile_model
from nncf_mcq.weights.level_range import SAFE_BITS
from tests.ir.reference import interpret

LARGEST = 128
SAFE = 2 ** (SAFE_BITS - 1) - 1
"""Of the weights that no CPU adds up to more than it can hold."""


@functools.cache
def has_vnni() -> bool:
    """Whether a layer with the largest weights gives what it should: without VNNI its sums saturate."""
    parameter = opset.parameter([1, 32], ov.Type.f32)
    data = np.full((1, 32), 255, np.float32)
    quantized = opset.fake_quantize(parameter, *map(np.float32, (0, 255, 0, 255)), 256)
    weight = packed_weight(np.full((16, 32), 255, np.uint8), 8, 1.0, 128)
    model = ov.Model([opset.matmul(quantized, weight, False, True)], [parameter])
    return bool(np.array_equal(compile_model(model, 1)(data)[0], interpret(model, data)[0]))


def largest_weight(adds_pairs: bool = True) -> int:
    """Of a layer whose sums do not saturate on this CPU.

    Args:
        adds_pairs: Whether its kernel may add two products in 16 bits; that of a depthwise convolution does not.
    """
    return LARGEST if not adds_pairs or has_vnni() else SAFE
