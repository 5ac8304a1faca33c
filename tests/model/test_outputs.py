"""What the graph tells of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.model.outputs import ModelOutput, describe_outputs

SHAPE = (1, 3, 8, 8)


def outputs_of(*ends: ov.Output | ov.Node, names: tuple[str, ...] = ()) -> tuple[ModelOutput, ...]:
    data = opset.parameter(SHAPE, ov.Type.f32, name="image")
    model = ov.Model([opset.result(end(data)) for end in ends], [data], "model")
    for port, name in zip(model.outputs, names, strict=False):
        port.get_tensor().set_names({name})
    return describe_outputs(model)


def constant(*values: int) -> ov.Node:
    return opset.constant(np.array(values, dtype=np.int64))


@pytest.mark.parametrize(
    ("end", "axis"),
    [
        (lambda data: opset.softmax(data, 1), 1),
        (lambda data: opset.convert(opset.softmax(data, 1), "f16"), 1),
        # (N, C, H, W) -> (N, H, W, C)
        (lambda data: opset.transpose(opset.softmax(data, 1), constant(0, 2, 3, 1)), 3),
        (lambda data: opset.transpose(opset.softmax(data, 3), constant(0, 3, 1, 2)), 1),
        (lambda data: opset.reshape(opset.softmax(data, 1), constant(1, 3, 64), False), None),
    ],
)
def test_a_softmax_at_the_end_is_found_with_its_axis(end: Callable[[ov.Node], ov.Node], axis: int | None) -> None:
    (found,) = outputs_of(end)
    assert (found.activation, found.axis) == ("softmax", axis)


def test_a_sigmoid_is_found_and_a_relu_is_none() -> None:
    sigmoid, relu = outputs_of(lambda data: opset.squeeze(opset.sigmoid(data), constant(0)), opset.relu)
    assert (sigmoid.activation, relu.activation) == ("sigmoid", "none")


def test_maps_have_the_size_of_the_image_and_channels_of_their_own() -> None:
    kernel = opset.constant(np.ones((5, 3, 1, 1), dtype=np.float32))

    def segmentation(data: ov.Node) -> ov.Node:
        return opset.convolution(data, kernel, [1, 1], [0, 0], [0, 0], [1, 1])

    same, other, smaller = outputs_of(
        opset.relu,
        segmentation,
        lambda data: opset.max_pool(segmentation(data), [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0),
    )
    assert (same.is_map, other.is_map, smaller.is_map) == (False, True, False)


def test_names_are_those_of_the_tensors_or_their_numbers() -> None:
    named, numbered = outputs_of(opset.relu, lambda data: opset.convert(data, "i32"), names=("scores",))
    assert (named.name, numbered.name) == ("scores", "1")
    assert (named.is_integer, numbered.is_integer) == (False, True)
