"""Layers that stay in floating point in an otherwise quantized model."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.model.layers import QuantizableLayer


def float_weight(weight: NDArray[np.float32]) -> ov.Node:
    """A weight that is stored as f16 and read as f32.

    `save_model(compress_to_fp16=True)` would not do it: it leaves models alone that hold a FakeQuantize.

    Args:
        weight: In the shape of the weight input; what exceeds the range of f16 becomes its largest value.
    """
    largest = np.finfo(np.float16).max
    return opset.convert(opset.constant(np.clip(weight, -largest, largest).astype(np.float16)), "f32")


def keep_float(operation: ov.Node, layer: QuantizableLayer, weight: ov.Node) -> None:
    """Gives a layer float weights, and its input as it is before the quantizers that stand directly in front of it.

    Those stay where another layer reads them.

    Args:
        operation: The layer's operation in a model with quantizers; edited.
        layer: The layer.
        weight: What its weight input reads.
    """
    operation.input(layer.weight_port).replace_source_output(weight.output(0))
    data = operation.input(layer.data_port)
    while data.get_source_output().get_node().get_type_name() == "FakeQuantize":
        data.replace_source_output(data.get_source_output().get_node().input_value(0))
