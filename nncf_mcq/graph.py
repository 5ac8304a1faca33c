"""Small readings of an `openvino.Model` that several stages need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError

_VALUE_PRESERVING = ("Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze")


def operations_by_name(model: ov.Model) -> dict[str, ov.Node]:
    """Friendly name to operation."""
    return {operation.get_friendly_name(): operation for operation in model.get_ops()}


def source(operation: ov.Node, port: int) -> ov.Node:
    """The operation that feeds an input port."""
    return operation.input_value(port).get_node()


def constant_of(operation: ov.Node, port: int) -> ov.Node:
    """The constant that an input port reads, through a decompression or a reshape.

    Raises:
        QuantizationError: No constant feeds the port.
    """
    node = source(operation, port)
    while node.get_type_name() in _VALUE_PRESERVING and node.get_type_name() != "Constant":
        node = source(node, 0)
    if node.get_type_name() != "Constant":
        raise QuantizationError(f"{operation.get_friendly_name()}: its weight is not a constant")
    return node


def constant_value(operation: ov.Node, port: int) -> NDArray[np.float32]:
    """The float32 value of a constant input, in the shape that the operation sees."""
    node = source(operation, port)
    if node.get_type_name() == "Constant":
        return np.array(node.get_data(dtype=np.float32))
    constant = constant_of(operation, port)
    # A decompression or reshape in between: let OpenVINO fold it rather than repeat its rules here.
    folded = ov.Model([operation.input_value(port)], [], "weight")
    result = ov.Core().compile_model(folded, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([])[0]
    if result.size != constant.get_output_shape(0) and result.size == 0:
        raise QuantizationError(f"{operation.get_friendly_name()}: its weight is empty")
    return np.array(result, dtype=np.float32)


def consumers(output: ov.Output) -> Iterator[tuple[ov.Node, int]]:
    """The (operation, input port) pairs that read an output."""
    for target in output.get_target_inputs():
        yield target.get_node(), target.get_index()
