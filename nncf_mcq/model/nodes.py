"""Small readings of an `openvino.Model` that several stages need."""

from __future__ import annotations

from collections.abc import Iterator, Set

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.inference import compile_model

LAYER_TYPES = frozenset(
    {
        "Convolution",
        "ConvolutionBackpropData",
        "GRUSequence",
        "GroupConvolution",
        "GroupConvolutionBackpropData",
        "LSTMSequence",
        "MatMul",
    }
)
"""Operations that multiply their input by weights, where some of their inputs are constant."""

RESHAPING = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operations that keep all values of their first input, in another order or shape."""

VALUE_PRESERVING = RESHAPING | {
    "BatchToSpace",
    "Broadcast",
    "Concat",
    "DepthToSpace",
    "Gather",
    "MaxPool",
    "ShuffleChannels",
    "Slice",
    "SpaceToBatch",
    "SpaceToDepth",
    "Split",
    "StridedSlice",
    "Tile",
    "VariadicSplit",
}
"""Operations whose outputs are values of their inputs, as they are: what is on a grid stays on it."""


def operations_by_name(model: ov.Model) -> dict[str, ov.Node]:
    """Friendly name to operation."""
    return {operation.get_friendly_name(): operation for operation in model.get_ops()}


def source(operation: ov.Node, port: int) -> ov.Node:
    """The operation that feeds an input port."""
    return operation.input_value(port).get_node()


def is_constant(operation: ov.Node, port: int) -> bool:
    """Whether an input port reads a constant, through a decompression or a reshape."""
    try:
        constant_of(operation, port)
    except QuantizationError:
        return False
    return True


def constant_of(operation: ov.Node, port: int) -> ov.Node:
    """The constant that an input port reads, through a decompression or a reshape.

    Raises:
        QuantizationError: No constant feeds the port.
    """
    node = source(operation, port)
    while node.get_type_name() in RESHAPING or node.get_type_name() == "Convert":
        node = source(node, 0)
    if node.get_type_name() != "Constant":
        raise QuantizationError(f"{operation.get_friendly_name()}: its input {port} is not a constant")
    return node


def origins(operation: ov.Node, port: int) -> Iterator[ov.Node]:
    """The operations whose values an input reads as they are, and those that only pass them on."""
    pending = [source(operation, port)]
    while pending:
        node = pending.pop()
        yield node
        if node.get_type_name() in VALUE_PRESERVING or node.get_type_name() == "Convert":
            pending.extend(value.get_node() for value in node.input_values())


def repeats_nothing(node: ov.Node) -> bool:
    """Whether it is a Broadcast to the shape that its input has already."""
    if node.get_type_name() != "Broadcast":
        return False
    return bool(node.get_input_partial_shape(0) == node.get_output_partial_shape(0))


def depends_on_data(value: ov.Output) -> bool:
    """Whether a value depends on the values of the model's inputs, rather than on constants and shapes alone."""
    pending, seen = [value.get_node()], set()
    while pending:
        node = pending.pop()
        if node.get_type_name() in ("Parameter", "ReadValue"):
            return True
        if node.get_name() not in seen and node.get_type_name() != "ShapeOf":
            pending.extend(item.get_node() for item in node.input_values())
        seen.add(node.get_name())
    return False


def constant_operations(model: ov.Model) -> Set[str]:
    """Unique names of constants and of what is computed from constants alone."""
    found: set[str] = set()
    for node in model.get_ordered_ops():
        sources = {value.get_node().get_name() for value in node.input_values()}
        if node.get_type_name() == "Constant" or (sources and sources <= found):
            found.add(node.get_name())
    return found


def constant_value(operation: ov.Node, port: int) -> NDArray[np.float32]:
    """The float32 value of a constant input, in the shape that the operation sees.

    Raises:
        QuantizationError: No constant feeds the port.
    """
    constant = constant_of(operation, port)
    if source(operation, port).get_type_name() == "Constant":
        return np.array(constant.get_data(dtype=np.float32))
    # A decompression or reshape in between: OpenVINO folds it by its own rules.
    folded = ov.Model([operation.input_value(port)], [], "constant")
    return np.array(compile_model(folded, threads=1)([])[0], dtype=np.float32)


def consumers(output: ov.Output) -> Iterator[tuple[ov.Node, int]]:
    """The (operation, input port) pairs that read an output."""
    for target in output.get_target_inputs():
        yield target.get_node(), target.get_index()


def value_name(value: ov.Output) -> str:
    """A name that a value has to itself in its model."""
    return f"{value.get_index()}:{value.get_node().get_friendly_name()}"


def has_own_constant(operation: ov.Node, port: int) -> bool:
    """Whether nothing else reads the constant that an input port reads, nor what it is decompressed to on the way."""
    node, end = source(operation, port), constant_of(operation, port)
    while len(list(consumers(node.output(0)))) == 1:
        if node == end:
            return True
        node = source(node, 0)
    return False


def replace_constant(operation: ov.Node, port: int, values: NDArray[np.float32]) -> None:
    """Gives a constant input other values, under the old name: layers are told apart by the names of their weights."""
    constant = opset.constant(np.ascontiguousarray(values, dtype=np.float32))
    constant.set_friendly_name(constant_of(operation, port).get_friendly_name())
    operation.input(port).replace_source_output(constant.output(0))


def replace_operation(operation: ov.Node, replacement: ov.Node) -> None:
    """Gives all readers of an operation's first output another source, which gets the names of the old one.

    Args:
        operation: What is replaced.
        replacement: What computes the same.
    """
    replacement.set_friendly_name(operation.get_friendly_name())
    replacement.output(0).get_tensor().add_names(operation.output(0).get_names())
    for reader in operation.output(0).get_target_inputs():
        reader.replace_source_output(replacement.output(0))


def add_bias(operation: ov.Node, values: NDArray[np.float32]) -> None:
    """Inserts an addition of a constant between an operation and all that read its output.

    Args:
        operation: With one output.
        values: In a shape that broadcasts to it.
    """
    readers = list(operation.output(0).get_target_inputs())
    addition = opset.add(operation, opset.constant(values), name=f"{operation.get_friendly_name()}/bias")
    for reader in readers:
        reader.replace_source_output(addition.output(0))


def spatial_pads(
    operation: ov.Node, kernel: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial dimension of a convolution or a pool, whatever its `auto_pad`.

    Args:
        operation: Of a model with static shapes.
        kernel: Its size in each spatial dimension.
        strides: Of the operation.
        dilations: Of the operation.
    """
    stated = _stated_pads(operation)
    if stated is not None:
        return stated
    begin, end = [], []
    for size, result, width, stride, dilation in zip(
        operation.get_input_shape(0)[2:], operation.get_output_shape(0)[2:], kernel, strides, dilations, strict=True
    ):
        total = max((result - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        smaller, larger = total // 2, total - total // 2
        begin.append(smaller if _more_at_end(operation) else larger)
        end.append(larger if _more_at_end(operation) else smaller)
    return begin, end


def transposed_pads_begin(operation: ov.Node, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """What is cut off in front of each spatial dimension of a transposed convolution's full output.

    Args:
        operation: Of a model with static shapes.
        kernel: Its size in each spatial dimension.
        strides: Of the operation.
        dilations: Of the operation.
    """
    stated = _stated_pads(operation)
    if stated is not None:
        return stated[0]
    sizes, results = operation.get_input_shape(0)[2:], operation.get_output_shape(0)[2:]
    begin = []
    for size, result, width, stride, dilation, more in zip(
        sizes, results, kernel, strides, dilations, operation.get_attributes()["output_padding"], strict=True
    ):
        total = max((size - 1) * stride + (width - 1) * dilation + 1 + more - result, 0)
        begin.append(total - total // 2 if _more_at_end(operation) else total // 2)
    return begin


def _stated_pads(operation: ov.Node) -> tuple[list[int], list[int]] | None:
    """Padding that an operation states; None where its `auto_pad` computes it from the sizes."""
    attributes = operation.get_attributes()
    mode = str(attributes["auto_pad"]).lower()
    if mode in ("explicit", "notset"):
        return list(attributes["pads_begin"]), list(attributes["pads_end"])
    if mode == "valid":
        dimensions = len(attributes["strides"])
        return [0] * dimensions, [0] * dimensions
    return None


def _more_at_end(operation: ov.Node) -> bool:
    """Whether the end gets what cannot be shared equally."""
    return str(operation.get_attributes()["auto_pad"]).lower() == "same_upper"
