"""Kinds of operations whose weights can be quantized: where the weights are, and what matrices they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import openvino as ov

from nncf_mcq.model.nodes import depends_on_data, is_constant

LayerKind = Literal[
    "convolution",
    "grouped_convolution",
    "depthwise_convolution",
    "transposed_convolution",
    "grouped_transposed_convolution",
    "depthwise_transposed_convolution",
    "matmul",
    "lstm",
    "gru",
    "embedding",
]

RECURRENT_PORTS: Mapping[LayerKind, tuple[int, int]] = {"lstm": (4, 5), "gru": (3, 4)}
"""Recurrent kinds to the input ports of their weights of inputs, W, and of hidden states, R."""

GATES: Mapping[LayerKind, int] = {"lstm": 4, "gru": 3}
"""Recurrent kinds to the rows of weights for each hidden state."""

WEIGHT_PORTS: Mapping[str, tuple[int, ...]] = {
    "Convolution": (1,),
    "GroupConvolution": (1,),
    "ConvolutionBackpropData": (1,),
    "GroupConvolutionBackpropData": (1,),
    "MatMul": (0, 1),
    "LSTMSequence": RECURRENT_PORTS["lstm"],
    "GRUSequence": RECURRENT_PORTS["gru"],
    "RNNSequence": (3, 4),
    "LSTMCell": (3, 4),
    "GRUCell": (2, 3),
    "RNNCell": (2, 3),
    "Gather": (0,),
    "Einsum": (0, 1),
}
"""Operations that multiply or look up weights, to the input ports where these are."""

STATE_PORTS: Mapping[str, tuple[int, ...]] = {"LSTMSequence": (1, 2), "GRUSequence": (1,)}
"""Input ports of a recurrent layer's initial states, which must not be quantized: it would cost the int8 kernel."""

_TRANSPOSED = ("ConvolutionBackpropData", "GroupConvolutionBackpropData")


@dataclass(frozen=True)
class LayerForm:
    """What an operation computes with its weights.

    Attributes:
        kind: What it computes.
        groups: Number of matrices that the weights are seen as.
        rows: Output channels of one matrix.
        columns: Inputs of one output value.
        transposed: Whether inputs come before outputs in the shape of the weights.
        macs: Multiply-accumulates of one input image.
        float_cause: Why the CPU plugin computes it in floating point; None where it does so in int8.
        allowed_bits: The only bit-widths that its weights can have; None: all.
    """

    kind: LayerKind
    groups: int
    rows: int
    columns: int
    transposed: bool
    macs: int
    float_cause: str | None = None
    allowed_bits: tuple[int, ...] | None = None


def layer_form(operation: ov.Node, port: int) -> LayerForm | str:
    """How the weights at an input port are used.

    Args:
        operation: Of a model with static shapes.
        port: Of a constant.

    Returns:
        The form, or in words why there is none for weights of this kind.
    """
    kind = operation.get_type_name()
    if kind in ("Convolution", "GroupConvolution", *_TRANSPOSED):
        return _convolution(operation, kind)
    if kind == "MatMul":
        return _matmul(operation, port)
    if kind in ("LSTMSequence", "GRUSequence"):
        return _recurrent(operation, port, kind)
    if kind == "Gather":
        return _embedding(operation)
    return f"weights of {kind} operations are not quantized"


def _convolution(operation: ov.Node, kind: str) -> LayerForm:
    """A convolution of any number of dimensions; the weights are (O, I, k...), of groups (G, O, I, k...).

    In those of a transposed one I stands before O. Each weight meets each position of the smaller map once: of the
    output, or of the input of a transposed convolution.
    """
    shape, grouped, transposed = tuple(operation.get_input_shape(1)), kind.startswith("Group"), kind in _TRANSPOSED
    groups, (first, second), kernel = (shape[0] if grouped else 1), shape[grouped : grouped + 2], shape[grouped + 2 :]
    rows, channels = (second, first) if transposed else (first, second)
    positions = math.prod((operation.get_input_shape(0) if transposed else operation.get_output_shape(0))[2:])
    names: dict[tuple[bool, bool], LayerKind] = {
        (False, False): "convolution",
        (False, True): "transposed_convolution",
        (True, False): "depthwise_convolution" if channels == 1 else "grouped_convolution",
        (True, True): "depthwise_transposed_convolution" if channels == 1 else "grouped_transposed_convolution",
    }
    return LayerForm(
        kind=names[grouped, transposed],
        groups=groups,
        rows=rows,
        columns=channels * math.prod(kernel),
        transposed=transposed,
        macs=math.prod(shape) * positions,
        # OpenVINO 2026.4: whatever the form of the weights.
        float_cause="a grouped transposed convolution has no int8 kernel" if grouped and transposed else None,
    )


def _matmul(operation: ov.Node, port: int) -> LayerForm | str:
    shape, output = tuple(operation.get_input_shape(port)), tuple(operation.get_output_shape(0))
    if port != 1:
        return "a constant on the left of a MatMul has no int8 kernel"
    if len(shape) < 2:
        return "a product with a vector has no int8 kernel"
    transposed = not operation.get_attributes()["transpose_b"]
    rows, columns = reversed(shape[-2:]) if transposed else shape[-2:]
    groups = math.prod(shape[:-2])
    # The batch of images is the first dimension, unless that is one of several matrices.
    positions = math.prod(output[1:-1]) if groups == 1 else math.prod(output[:-1]) // groups
    return LayerForm("matmul", groups, rows, columns, transposed, math.prod(shape) * positions)


def _recurrent(operation: ov.Node, port: int, kind: str) -> LayerForm | str:
    """W (directions, gates, inputs) and R (directions, gates, hidden states) side by side: one layer, found at W.

    The int8 kernel has one scale for both weights of a gate, and takes it from W.
    """
    if port != WEIGHT_PORTS[kind][0]:
        return "the initial state of a recurrent layer"
    if not is_constant(operation, WEIGHT_PORTS[kind][1]):
        return "recurrent weights that are not constant"
    directions, gates, inputs = operation.get_input_shape(port)
    columns = inputs + operation.get_input_shape(WEIGHT_PORTS[kind][1])[2]
    steps = operation.get_input_shape(0)[1]
    return LayerForm(
        kind="lstm" if kind == "LSTMSequence" else "gru",
        groups=directions,
        rows=gates,
        columns=columns,
        transposed=False,
        macs=directions * gates * columns * steps,
        # A quantized state would need the grid of the input, which is another tensor's.
        float_cause="its initial state is no constant" if depends_on_data(operation.input_value(1)) else None,
    )


def _embedding(operation: ov.Node) -> LayerForm | str:
    shape = tuple(operation.get_input_shape(0))
    axis = operation.input_value(2).get_node()
    if axis.get_type_name() != "Constant" or int(axis.get_data().reshape(-1)[0]) % len(shape) != 0:
        return "an embedding is quantized only where its first axis is the one that is looked up"
    # Below 8 bits the plugin expands the whole table to f32 in memory.
    return LayerForm(
        "embedding", 1, shape[0], math.prod(shape[1:]), False, 0, "its entries are only looked up", allowed_bits=(8,)
    )
