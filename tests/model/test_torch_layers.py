"""Layers in PyTorch against OpenVINO: transposed and three-dimensional convolutions, recurrent operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import QuantizationError
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import find_layers, layer_weight
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.torch_graph import TorchGraph
from tests.models import convolution_model, make_model, random_constant, random_images
from tests.recurrent import recurrent_model


def assert_same(model: ov.Model, *, atol: float = 1e-4) -> None:
    images = random_images(3, tuple(model.input(0).shape))
    compiled = compile_model(model, threads=1)
    expected = np.concatenate([np.array(compiled([image[None]])[0]) for image in images])
    graph = TorchGraph(model)
    with torch.no_grad():
        found = np.concatenate([graph(torch.from_numpy(image[None])).numpy() for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "begin", "end", "dilations", "more"),
    [
        ([5], [3], [2], [1], [0], [1], [1]),
        ([5, 4], [3, 2], [2, 1], [1, 0], [0, 1], [1, 2], [1, 0]),
        ([3, 4, 2], [3, 1, 2], [2, 3, 1], [1, 0, 0], [1, 0, 0], [1, 1, 1], [0, 2, 0]),
    ],
)
def test_transposed_convolutions(
    groups: int,
    size: list[int],
    kernel: list[int],
    strides: list[int],
    begin: list[int],
    end: list[int],
    dilations: list[int],
    more: list[int],
) -> None:
    weights = random_constant(*((groups,) if groups else ()), 2, 3, *kernel)
    make = opset.group_convolution_backprop_data if groups else opset.convolution_backprop_data
    shape = (1, 2 * (groups or 1), *size)
    assert_same(
        make_model(lambda data: make(data, weights, strides, None, begin, end, dilations, "explicit", more), shape)
    )


@pytest.mark.parametrize("mode", ["same_upper", "same_lower"])
def test_a_transposed_convolution_with_a_given_size(mode: str) -> None:
    def build(data: ov.Node) -> ov.Node:
        weights, result = random_constant(2, 3, 4, 4), opset.constant([7, 8])
        pads = ([0, 0], [0, 0], [1, 1])
        node: ov.Node = opset.convolution_backprop_data(data, weights, [2, 2], result, *pads, mode)
        return node

    assert_same(make_model(build, (1, 2, 4, 4)))


@pytest.mark.parametrize(
    ("weights", "options"),
    [((4, 3, 3, 2, 1), {"stride": 2, "pad": 1}), ((3, 2, 1, 3, 3, 3), {"grouped": True, "dilation": 2})],
)
def test_convolutions_over_three_dimensions(weights: Sequence[int], options: dict[str, int]) -> None:
    assert_same(convolution_model((1, 3, 6, 7, 8), weights, **options))


def test_pools_over_three_dimensions() -> None:
    def build(data: ov.Node) -> ov.Node:
        pads = ([0, 1, 0], [0, 1, 0], [2, 3, 1])
        values = opset.max_pool(data, [2, 1, 1], [1, 1, 1], *pads).output(0)
        node: ov.Node = opset.avg_pool(values, [1, 2, 1], *pads, True)
        return node

    assert_same(make_model(build, (1, 2, 6, 6, 4)))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_operations(kind: str, direction: str) -> None:
    assert_same(recurrent_model(kind, direction))


def test_a_gru_that_resets_after_its_product() -> None:
    def build(data: ov.Node) -> ov.Node:
        constants = (opset.constant(np.array([5], np.int32)), random_constant(1, 12, 3), random_constant(1, 12, 4))
        first = opset.constant(np.zeros((1, 1, 4), np.float32))
        layer = opset.gru_sequence(
            data, first, *constants, random_constant(1, 16, seed=1), 4, "forward", linear_before_reset=True
        )
        return opset.reshape(layer.output(0), [1, 20], False)

    assert_same(make_model(build, (1, 5, 3)))


def test_the_weights_of_a_recurrent_operation_are_side_by_side() -> None:
    model = recurrent_model("lstm", "bidirectional")
    (layer,) = find_layers(model).layers
    graph = TorchGraph(model).double()
    weight = graph.weight("layer")
    np.testing.assert_array_equal(weight.numpy(), layer_weight(layer, operations_by_name(model)["layer"]))
    # Those that are given are the ones that are multiplied.
    image = torch.from_numpy(random_images(1, tuple(model.input(0).shape))).double()
    moved = weight.clone().requires_grad_()
    graph(image, weights={"layer": moved}).square().sum().backward()
    assert moved.grad is not None
    step = 1e-6
    for place in ((0, 1, 2), (1, 7, 5)):
        values = []
        for sign in (1, -1):
            changed = weight.clone()
            changed[place] += sign * step
            values.append(float(graph(image, weights={"layer": changed}).square().sum()))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(moved.grad[place]), rel=1e-5)


def test_names_what_a_recurrent_operation_may_not_have() -> None:
    def build(data: ov.Node) -> ov.Node:
        constants = (opset.constant(np.array([2], np.int32)), random_constant(1, 12, 3), random_constant(1, 12, 4))
        first = opset.constant(np.zeros((1, 1, 4), np.float32))
        layer = opset.gru_sequence(data, first, *constants, random_constant(1, 12), 4, "forward", name="layer")
        return opset.reshape(layer.output(0), [1, 20], False)

    with pytest.raises(QuantizationError, match=r"layer \(GRUSequence\): sequence_lengths"):
        TorchGraph(make_model(build, (1, 5, 3)))
