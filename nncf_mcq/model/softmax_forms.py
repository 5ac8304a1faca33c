"""Softmax as one operation, where a model has it spelled out.

Exporters write `exp(x - max(x)) / sum(exp(x - max(x)))`, or the logarithm of it, in single operations. NNCF puts
quantizers between these, as it knows the operation as a whole only: small probabilities become zero, and what stands
for classes is no longer seen to be a softmax.
"""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.model.nodes import RESHAPING, constant_value, is_constant, repeats_nothing, replace_operation, source

_SHAPES = RESHAPING - {"Transpose"} | {"Broadcast"}


def use_softmax(model: ov.Model) -> ov.Model:
    """Replaces what computes a softmax, or its logarithm, over one axis by that operation.

    Args:
        model: Edited. What has no static shape stays as it is.

    Returns:
        The same model.
    """
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        replacement = _softmax(node) if kind == "Divide" else _log_softmax(node) if kind == "Subtract" else None
        if replacement is not None:
            replace_operation(node, replacement)
    model.validate_nodes_and_infer_types()
    return model


def _softmax(node: ov.Node) -> ov.Node | None:
    """Of exp(x) / sum(exp(x))."""
    exponentials, divisor = node.input_values()
    total = _through_shapes(divisor)
    axis = _summed_axis(total, divisor)
    if axis is None or total.input_value(0) != exponentials:
        return None
    return opset.softmax(_without_offset(source(total, 0).input_value(0), axis), axis)


def _log_softmax(node: ov.Node) -> ov.Node | None:
    """Of x - log(sum(exp(x)))."""
    value, subtracted = node.input_values()
    logarithm = _through_shapes(subtracted)
    if logarithm.get_type_name() != "Log":
        return None
    total = _through_shapes(logarithm.input_value(0))
    axis = _summed_axis(total, subtracted)
    if axis is None or source(total, 0).input_value(0) != value:
        return None
    return opset.log_softmax(_without_offset(value, axis), axis)


def _summed_axis(total: ov.Node, used: ov.Output) -> int | None:
    """The only axis that exponentials are summed over, where what is made of the sum lines up with them.

    Args:
        total: The sum of exponentials, perhaps.
        used: The sum, in another shape or a function of it.
    """
    if total.get_type_name() != "ReduceSum" or source(total, 0).get_type_name() != "Exp" or not is_constant(total, 1):
        return None
    shape, used_shape = _shape(total.input_value(0)), _shape(_before_broadcast(used))
    if shape is None or used_shape is None:
        return None
    axes = [int(axis) % len(shape) for axis in constant_value(total, 1).reshape(-1)]
    if len(axes) != 1 or used_shape != [*shape[: axes[0]], 1, *shape[axes[0] + 1 :]]:
        return None
    return axes[0]


def _without_offset(value: ov.Output, axis: int) -> ov.Output:
    """What a value is before something that is equal along an axis is subtracted, which changes no softmax."""
    node = value.get_node()
    if repeats_nothing(node):
        node = source(node, 0)
    if node.get_type_name() != "Subtract":
        return value
    given, offset = node.input_values()
    shape, offset_shape = _shape(given), _shape(_before_broadcast(offset))
    if shape is None or offset_shape is None or shape != _shape(value):
        return value
    is_equal_along = len(offset_shape) == len(shape) and offset_shape[axis] == 1
    return given if is_equal_along else value


def _through_shapes(value: ov.Output) -> ov.Node:
    """The operation that computes what a value holds, behind changes of its shape that keep the order."""
    node = value.get_node()
    while node.get_type_name() in _SHAPES:
        node = source(node, 0)
    return node


def _before_broadcast(value: ov.Output) -> ov.Output:
    """What a Broadcast repeats, of the same rank; else the value itself."""
    node = value.get_node()
    if node.get_type_name() != "Broadcast":
        return value
    repeated = node.input_value(0)
    return repeated if repeated.get_partial_shape().rank == value.get_partial_shape().rank else value


def _shape(value: ov.Output) -> list[int] | None:
    """Of a value; None where it depends on other values."""
    shape = value.get_partial_shape()
    return None if shape.is_dynamic else list(shape.to_shape())
