"""Operations in the forms that the CPU plugin computes on integers, in the place of equal ones that it does not.

NNCF lets a quantizer stand in front of operations that only move or select values. Some of these the plugin does not
know on integers, and everything behind them runs in floating point, silently. Where the same values can be had from
operations that it knows, those are taken; the outputs are equal, bit for bit, those of matrix products up to the order
of their sums.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
from openvino import opset8
from openvino import opset13 as opset

from nncf_mcq.model.nodes import constant_value, is_constant, replace_operation, spatial_pads

_MOST_COPIES = 16
"""A tensor that is repeated more often than that stays so: its copies would be read one by one."""


def use_int8_forms(model: ov.Model) -> ov.Model:
    """Replaces operations behind which layers would not run in int8.

    - A max pool that rounds up as torch does (`ceil_mode=True`) becomes one that rounds down, padded by as much as its
      last windows need. A padding by minus infinity in front of it ("same" padding, written in torch) becomes its own.
    - An adaptive max pool becomes a max pool, where its windows are equally large and equally far apart.
    - A repetition (Tile) becomes a concatenation.
    - SpaceToDepth becomes a transposition between two reshapes.
    - A MatMul whose first operand is constant becomes the transposed product of the transposed operands: the plugin
      takes weights as the second operand only.

    Args:
        model: With static shapes, but that the size of the batch may change later; edited.

    Returns:
        The same model.
    """
    for node in model.get_ordered_ops():
        form = _FORMS.get(node.get_type_name())
        replacement = None if form is None else form(node)
        if replacement is not None:
            replace_operation(node, replacement)
    model.validate_nodes_and_infer_types()
    return model


def _max_pool(node: ov.Node) -> ov.Node | None:
    attributes = node.get_attributes()
    rank = len(attributes["kernel"])
    kernel, strides = list(attributes["kernel"]), list(attributes["strides"])
    dilations = list(attributes.get("dilations") or [1] * rank)
    padding = _infinite_padding(node.input_value(0).get_node(), rank)
    if _is_read(node, 1) or (attributes["rounding_type"] != "ceil_torch" and padding is None):
        return None
    begin, _ = spatial_pads(node, kernel, strides, dilations)
    data = node.input_value(0)
    if padding is not None:
        begin = [inner + outer for inner, outer in zip(begin, padding, strict=True)]
        data = data.get_node().input_value(0)
    sizes, results = list(data.get_shape())[2:], list(node.get_output_shape(0))[2:]
    end = []
    for size, result, width, stride, dilation, before in zip(
        sizes, results, kernel, strides, dilations, begin, strict=True
    ):
        reach = (width - 1) * dilation + 1
        last = (result - 1) * stride - before
        # Each window must see a value: the maximum of none is another number in each implementation.
        if last >= size or before >= reach:
            return None
        end.append(max(0, last + reach - size))
    return opset8.max_pool(data, strides, dilations, begin, end, kernel, "floor", "explicit")


def _infinite_padding(pad: ov.Node, rank: int) -> list[int] | None:
    """What a Pad puts before each spatial dimension, where all that it adds is below every number."""
    if pad.get_type_name() != "Pad" or pad.get_attributes()["pad_mode"] != "constant":
        return None
    if pad.get_input_size() < 4 or not all(is_constant(pad, port) for port in (1, 2, 3)):
        return None
    begin, end = (constant_value(pad, port).astype(int).tolist() for port in (1, 2))
    value = constant_value(pad, 3).item()
    if value > np.finfo(np.float32).min or min(begin + end) < 0 or any(begin[:-rank] + end[:-rank]):
        return None
    return [int(size) for size in begin[-rank:]]


def _adaptive_max_pool(node: ov.Node) -> ov.Node | None:
    if _is_read(node, 1):
        return None
    sizes, results = list(node.get_input_shape(0))[2:], list(node.get_output_shape(0))[2:]
    kernel, strides = [], []
    for size, result in zip(sizes, results, strict=True):
        starts = [index * size // result for index in range(result)]
        ends = [math.ceil((index + 1) * size / result) for index in range(result)]
        widths = {end - start for start, end in zip(starts, ends, strict=True)}
        steps = {after - before for before, after in itertools.pairwise(starts)}
        if len(widths) > 1 or len(steps) > 1:
            return None
        kernel.append(widths.pop())
        strides.append(steps.pop() if steps else 1)
    zeros, ones = [0] * len(kernel), [1] * len(kernel)
    return opset8.max_pool(node.input_value(0), strides, ones, zeros, zeros, kernel, "floor", "explicit")


def _tile(node: ov.Node) -> ov.Node | None:
    if is_constant(node, 0) or not is_constant(node, 1):
        return None
    repeats = constant_value(node, 1).astype(int).tolist()
    rank = len(node.get_input_partial_shape(0))
    # A repetition of the batch is left alone, as are those that add dimensions.
    if len(repeats) != rank or repeats[0] != 1 or not 1 < math.prod(repeats) <= _MOST_COPIES:
        return None
    copied = node.input_value(0)
    for axis, count in enumerate(repeats):
        if count > 1:
            copied = opset.concat([copied] * count, axis).output(0)
    return copied.get_node()


def _space_to_depth(node: ov.Node) -> ov.Node | None:
    attributes = node.get_attributes()
    block = int(attributes["block_size"])
    channels, *sizes = list(node.get_input_shape(0))[1:]
    inner = [length for size in sizes for length in (size // block, block)]
    blocks = list(range(3, 3 + 2 * len(sizes), 2))
    places = [axis - 1 for axis in blocks]
    depth = [1, *blocks] if attributes["mode"] == "depth_first" else [*blocks, 1]
    # -1 is the batch: the model may be reshaped to another one.
    split = opset.reshape(node.input_value(0), _integers([-1, channels, *inner]), False)
    turned = opset.transpose(split, _integers([0, *depth, *places]))
    shape = [-1, channels * block ** len(sizes), *(size // block for size in sizes)]
    return opset.reshape(turned, _integers(shape), False)


def _integers(values: Sequence[int]) -> ov.Node:
    return opset.constant(np.array(values, dtype=np.int64))


def _is_read(node: ov.Node, output: int) -> bool:
    return node.get_output_size() > output and bool(node.output(output).get_target_inputs())


def _constant_first(node: ov.Node) -> ov.Node | None:
    constant, data = node.input_value(0), node.input_value(1)
    ranks = [len(value.get_partial_shape()) for value in (constant, data)]
    if not is_constant(node, 0) or is_constant(node, 1) or min(ranks) < 2:
        return None
    attributes = node.get_attributes()
    product = opset.matmul(data, constant, not attributes["transpose_b"], not attributes["transpose_a"])
    name = node.get_friendly_name()
    # The layer keeps its name, by which it is configured.
    node.set_friendly_name(f"{name}/transposed")
    product.set_friendly_name(name)
    axes = list(range(max(ranks)))
    return opset.transpose(product, [*axes[:-2], axes[-1], axes[-2]])


_FORMS: dict[str, Callable[[ov.Node], ov.Node | None]] = {
    "MaxPool": _max_pool,
    "AdaptiveMaxPool": _adaptive_max_pool,
    "Tile": _tile,
    "SpaceToDepth": _space_to_depth,
    "MatMul": _constant_first,
}
