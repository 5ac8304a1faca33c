"""Matrices times columns are the operation itself: for every kind of layer, as OpenVINO computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openvino import opset13 as opset

import nncf_mcq.calibration.unfolding
from nncf_mcq.calibration.unfolding import layer_input, output_sampler, unfolder
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import QuantizableLayer, find_layers, layer_weight
from nncf_mcq.model.nodes import operations_by_name
from tests.models import make_model, random_constant, random_images
from tests.recurrent import gates_by_hand, recurrent_model

PROPERTY = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def columns_of(
    model: ov.Model, image: NDArray[np.float32], *, positions: int = 10**6
) -> tuple[QuantizableLayer, NDArray[np.float64]]:
    """The only layer of a model, and its matrices times its columns: (groups, rows, positions).

    Args:
        model: The model.
        image: Its input.
        positions: Sampled of a plain convolution; all by default.
    """
    (layer,) = find_layers(model).layers
    copy = model.clone()
    operation = operations_by_name(copy)[layer.name]
    value = layer_input(operation, layer)
    assert value is not None
    tensor = compile_model(ov.Model([opset.result(value)], copy.get_parameters(), "input"), threads=1)([image])[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nncf_mcq.calibration.unfolding, "sampled_positions", lambda columns: positions)
        unfold = unfolder(operation, layer)
    columns = unfold(torch.from_numpy(np.array(tensor))).double().numpy()
    assert columns.shape[:2] == (layer.groups, layer.columns)
    matrices = layer.to_matrices(layer_weight(layer, operation)).astype(np.float64)
    return layer, matrices @ columns


def sampled_output(model: ov.Model, output: NDArray[np.float32], *, positions: int) -> NDArray[np.float32]:
    """What the only layer of a model computes, at the positions that are sampled: (groups, rows, positions)."""
    (layer,) = find_layers(model).layers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nncf_mcq.calibration.unfolding, "sampled_positions", lambda columns: positions)
        sample = output_sampler(operations_by_name(model)[layer.name], layer)
    return sample(torch.from_numpy(output)).numpy()


def output_of(model: ov.Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(compile_model(model, threads=1)([image])[0])


def assert_is_output(model: ov.Model) -> None:
    """Of a convolution: channels first, as the matrices' rows."""
    image = random_images(1, tuple(model.input(0).shape))
    try:
        output = output_of(model, image)
    except RuntimeError:
        reject()  # The plugin has no kernel for every geometry.
    layer, found = columns_of(model, image)
    np.testing.assert_allclose(found.reshape(layer.output_channels, -1), output.reshape(output.shape[1], -1), atol=1e-4)
    _, found = columns_of(model, image, positions=3)
    np.testing.assert_allclose(found, sampled_output(model, output, positions=3), atol=1e-4)


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> ov.Model:
    spatial, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3]))
    grouped = groups > 1  # The plugin has no kernel for a single group.
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 2))

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(spatial)]

    sizes, kernel, strides, dilations = each(2, 4), each(1, 3), each(1, 3), each(1, 2)
    begin, end = each(0, 2), each(0, 2)
    more = [draw(st.integers(0, stride - 1)) for stride in strides]
    results = [
        (size - 1) * stride + (width - 1) * dilation + 1 - before - after + extra
        for size, stride, width, dilation, before, after, extra in zip(
            sizes, strides, kernel, dilations, begin, end, more, strict=True
        )
    ]
    mode = draw(st.sampled_from(["explicit", "same_upper", "same_lower", "valid"]))
    shape = None
    if mode.startswith("same"):
        full = [
            (size - 1) * stride + (width - 1) * dilation + 1
            for size, stride, width, dilation in zip(sizes, strides, kernel, dilations, strict=True)
        ]
        shape = opset.constant([draw(st.integers(1, largest)) for largest in full])
        more = [0] * spatial
    elif mode == "explicit" and min(results) < 1:
        begin, end = [0] * spatial, [0] * spatial
    make = opset.group_convolution_backprop_data if grouped else opset.convolution_backprop_data
    weights = random_constant(*((groups,) if grouped else ()), inputs, outputs, *kernel)

    def build(data: ov.Node) -> ov.Node:
        arguments = (strides, shape, begin, end, dilations, mode, more)
        node: ov.Node = make(data, weights, *arguments, name="layer")
        return node

    return make_model(build, (1, groups * inputs, *sizes))


@PROPERTY
@given(transposed_convolutions())
def test_a_transposed_convolution(model: ov.Model) -> None:
    assert_is_output(model)


@st.composite
def convolutions(draw: st.DrawFn) -> ov.Model:
    spatial, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3]))
    grouped = groups > 1 or draw(st.booleans())
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 2))

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(spatial)]

    sizes, kernel = each(5, 6), each(1, 3)
    weights = random_constant(*((groups,) if grouped else ()), outputs, inputs, *kernel)
    mode = draw(st.sampled_from(["explicit", "same_upper", "same_lower", "valid"]))
    geometry = each(1, 3), each(0, 2), each(0, 2), each(1, 2)
    make = opset.group_convolution if grouped else opset.convolution

    def build(data: ov.Node) -> ov.Node:
        node: ov.Node = make(data, weights, *geometry, mode, name="layer")
        return node

    return make_model(build, (1, groups * inputs, *sizes))


@PROPERTY
@given(convolutions())
def test_a_convolution(model: ov.Model) -> None:
    assert_is_output(model)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(
    ("data", "batch"),
    [((1, 5, 6), ()), ((1, 5, 6), (1,)), ((1, 3, 5, 6), (3,)), ((1, 5, 6), (3,)), ((1, 2, 3, 5, 6), (3,)),
     ((1, 2, 3, 5, 6), (2, 3)), ((1, 2, 3, 5, 6), (2, 1)), ((1, 4, 5, 6), (1, 1)), ((3, 5, 6), (3,))],
)  # fmt: skip
def test_a_matrix_product(data: Sequence[int], batch: Sequence[int], transpose_a: bool, transpose_b: bool) -> None:
    shape = (*data[:-2], *reversed(data[-2:])) if transpose_a else data
    weights = random_constant(*batch, *((4, 6) if transpose_b else (6, 4)))
    model = make_model(lambda image: opset.matmul(image, weights, transpose_a, transpose_b, name="layer"), shape)
    image = random_images(shape[0], shape)
    layer, found = columns_of(model, image)
    output = output_of(model, image)
    offset = output.ndim - 2 - len(batch)
    grouped = [offset + axis for axis, size in enumerate(batch) if size > 1]
    others = [axis for axis in range(output.ndim - 1) if axis not in grouped]
    ordered = output.transpose(*grouped, output.ndim - 1, *others).reshape(layer.groups, layer.rows, -1)
    np.testing.assert_allclose(found, ordered, atol=1e-4)
    if layer.groups == 1:
        np.testing.assert_allclose(found, sampled_output(model, output, positions=10**6), atol=1e-4)
    # One value per output channel broadcasts to the output.
    shifted = output + np.arange(layer.output_channels).reshape(layer.bias_shape(output.ndim))
    ordered = shifted.transpose(*grouped, output.ndim - 1, *others).reshape(layer.groups, layer.rows, -1)
    expected = found + np.arange(layer.output_channels).reshape(layer.groups, layer.rows, 1)
    np.testing.assert_allclose(expected, ordered, atol=1e-4)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_recurrent_layer(kind: str, direction: str) -> None:
    model = recurrent_model(kind, direction)
    image = random_images(1, tuple(model.input(0).shape))
    layer, found = columns_of(model, image)
    # (directions, gates, steps): computed step by step, in the order of time.
    np.testing.assert_allclose(found, gates_by_hand(model, image), atol=1e-4)
    assert layer.kind == kind


def test_more_positions_of_a_transposed_convolution_are_sampled_as_most_of_its_inputs_are_zeros() -> None:
    weights = random_constant(2, 3, 2, 2)

    def count(make: Callable[..., Any]) -> int:
        model = make_model(make, (1, 2, 16, 16))
        return int(columns_of(model, random_images(1, (1, 2, 16, 16)), positions=8)[1].shape[2])

    pads = ([0, 0], [0, 0], [1, 1])
    transposed = count(lambda data: opset.convolution_backprop_data(data, weights, [2, 2], None, *pads, name="layer"))
    plain = count(lambda data: opset.convolution(data, random_constant(3, 2, 2, 2), [1, 1], *pads, name="layer"))
    assert (plain, transposed) == (8, 32)
