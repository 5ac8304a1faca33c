"""Biases that keep OpenVINO from computing a sequence of int8 matrix products wrongly."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.model.nodes import add_bias, constant_value, consumers, is_constant, source

_SMALLEST = np.float32(1e-30)
"""Far below what any product adds up to, so that no output changes, and far above the smallest normal number."""

_RANK = 2
"""Largest rank of the products that the CPU plugin puts into one kernel."""

_QUANTIZER = "FakeQuantize"

_NO_ELEMENTWISE = ("Result", "Convolution", "GroupConvolution", "Reshape", "Concat", "Transpose")


def keep_biases_apart(model: ov.Model) -> None:
    """Gives each quantized matrix product that another one follows a bias that is not the same for all channels.

    The CPU plugin of OpenVINO 2026.4 computes such a sequence in one kernel (`TokenizeMLPSeqSnippets`, in one thread or
    with a batch). Where an integer product has no bias for each channel (none, or one that is zero or alike everywhere
    and is made a scalar), the outputs are memory that nothing was written to, other values in each run. `nncf.quantize`
    makes such models too.

    Args:
        model: Edited: a bias of 1e-30 for the first channel, or one unit in the last place more where there is a bias.
    """
    for product in model.get_ops():
        if product.get_type_name() != "MatMul" or product.get_output_partial_shape(0).rank.get_max_length() > _RANK:
            continue
        if source(product, 0).get_type_name() == _QUANTIZER and _product_follows(product):
            _vary_bias(product)


def _product_follows(product: ov.Node) -> bool:
    """Whether operations that each have one reader lead to another product."""
    node = product
    while len(readers := [reader for reader, _ in consumers(node.output(0))]) == 1:
        node = readers[0]
        if node.get_type_name() == "MatMul":
            return True
        if node.get_type_name() in _NO_ELEMENTWISE or node.get_output_size() != 1:
            return False
    return False


def _vary_bias(product: ov.Node) -> None:
    channels = product.get_output_partial_shape(0)[-1].get_length()
    reader, port = next(consumers(product.output(0)))
    if reader.get_type_name() == "Add" and is_constant(reader, 1 - port):
        bias = constant_value(reader, 1 - port)
        if np.all(bias == bias.flat[0]):
            varied = opset.constant(_varied(np.full((1, channels), bias.flat[0], dtype=np.float32)))
            reader.input(1 - port).replace_source_output(varied.output(0))
        return
    add_bias(product, _varied(np.zeros((1, channels), dtype=np.float32)))


def _varied(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    first = bias.flat[0]
    bias.flat[0] = _SMALLEST if first == 0 else np.nextafter(first, np.float32(np.inf))
    return bias
