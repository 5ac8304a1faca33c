"""Kinds of a model's outputs, as far as its graph tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import openvino as ov

from nncf_mcq.model.nodes import repeats_nothing, source

Activation = Literal["none", "softmax", "sigmoid"]

_PASSED: Final = ("Convert", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity")
"""Operations that move values and change none."""


@dataclass(frozen=True)
class ModelOutput:
    """An output of a model.

    Attributes:
        name: Its tensor's name, or its number where it has none.
        activation: What its values went through last.
        axis: Dimension over which a softmax normalizes, in the output's own shape.
        is_map: Whether it has a value for each pixel of the image, in more channels than one and other ones than the
            image's: the logits of a segmentation.
        is_integer: Whether its values are whole numbers, e.g. classes.
        operation: Type of the operation that its values come from.
        parts: Of an output that joins others along one dimension, the size and the activation of each of them.
        parts_axis: That dimension, in the output's own shape.
    """

    name: str
    activation: Activation = "none"
    axis: int | None = None
    is_map: bool = False
    is_integer: bool = False
    operation: str = ""
    parts: tuple[tuple[int, Activation], ...] = ()
    parts_axis: int | None = None


def describe_outputs(model: ov.Model) -> tuple[ModelOutput, ...]:
    """The outputs of a model, in its order.

    Args:
        model: The float model.
    """
    return tuple(_describe(model, port, number) for number, port in enumerate(model.outputs))


def _describe(model: ov.Model, port: ov.Output, number: int) -> ModelOutput:
    # OpenVINO names an output that has no name after its node, by a number that changes from load to load.
    names = sorted(port.get_names() - {port.get_node().get_friendly_name()})
    last, transposed, keeps_axes = _origin(port.get_node(), 0)
    rank = port.get_partial_shape().rank
    axis: int | None = None
    if keeps_axes and rank.is_static and last.get_type_name() in ("Softmax", "Concat"):
        axis = int(last.get_attributes()["axis"]) % rank.get_length()
        # From there to the output: the dimension goes where the permutation takes it.
        for order in reversed(transposed):
            axis = order.index(axis)
    is_joined = last.get_type_name() == "Concat"
    return ModelOutput(
        name=names[0] if names else str(number),
        activation=_activation(last),
        axis=None if is_joined else axis,
        is_map=_is_map(model, port),
        is_integer=not port.get_element_type().is_real(),
        operation=last.get_type_name(),
        parts=_parts(last) if is_joined and axis is not None else (),
        parts_axis=axis if is_joined else None,
    )


def _origin(node: ov.Node, port: int) -> tuple[ov.Node, list[list[int]], bool]:
    """The operation that an input's values come from, the permutations after it, and whether these tell its axes."""
    last = source(node, port)
    transposed: list[list[int]] = []
    keeps_axes = True
    while last.get_input_size() > 0 and (last.get_type_name() in _PASSED or repeats_nothing(last)):
        if last.get_type_name() == "Transpose":
            order = source(last, 1)
            keeps_axes &= order.get_type_name() == "Constant"
            if keeps_axes:
                transposed.append([int(item) for item in order.get_data()])
        elif last.get_type_name() not in ("Convert", "Identity", "Broadcast"):
            keeps_axes = False
        last = source(last, 0)
    return last, transposed, keeps_axes


def _activation(node: ov.Node) -> Activation:
    if node.get_type_name() == "Softmax":
        return "softmax"
    return "sigmoid" if node.get_type_name() in ("Sigmoid", "HSigmoid") else "none"


def _parts(node: ov.Node) -> tuple[tuple[int, Activation], ...]:
    """Size along the axis and activation of everything that a Concat joins; nothing where a size is open."""
    shapes = [node.input(index).get_partial_shape() for index in range(node.get_input_size())]
    if any(shape.rank.is_dynamic for shape in shapes):
        return ()
    axis = int(node.get_attributes()["axis"]) % len(shapes[0])
    if any(shape[axis].is_dynamic for shape in shapes):
        return ()
    return tuple(
        (int(shape[axis].get_length()), _activation(_origin(node, index)[0])) for index, shape in enumerate(shapes)
    )


def _is_map(model: ov.Model, port: ov.Output) -> bool:
    return any(_is_map_of(port.get_partial_shape(), given.get_partial_shape()) for given in model.inputs)


def _is_map_of(shape: ov.PartialShape, image: ov.PartialShape) -> bool:
    if shape.is_dynamic or image.is_dynamic or len(shape) != 4 or len(image) != 4:
        return False
    found, given = (np.array([side.get_length() for side in item]) for item in (shape, image))
    return bool((found[2:] == given[2:]).all()) and int(found[1]) > 1 and found[1] != given[1]
