from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import ConfigError, QuantizationError
from nncf_mcq.model.algorithm import find_placement
from nncf_mcq.model.layers import find_layers, layer_weight
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import constant_value, operations_by_name
from nncf_mcq.policy import FLOAT_CHOICE
from tests.models import (
    SAMPLE_SIZE,
    concat_model,
    convolution,
    convolution_model,
    embedding_model,
    make_model,
    matmul_model,
    operation_types,
    random_constant,
    shared_weights_model,
    small_network,
    weights_of,
)
from tests.recurrent import GATES, INPUTS, STATES, STEPS, recurrent_model

CONVOLUTIONS: list[tuple[Sequence[int], Sequence[int], dict[str, Any], tuple[str, int, int, int]]] = [
    ((1, 3, 9, 7), (5, 3, 3, 3), {}, ("convolution", 1, 5, 27)),
    ((1, 3, 9, 7), (5, 3, 3, 3), {"stride": 2, "pad": 1}, ("convolution", 1, 5, 27)),
    ((1, 3, 9, 7), (5, 3, 3, 3), {"dilation": 2, "pad": 2}, ("convolution", 1, 5, 27)),
    ((1, 3, 9, 7), (5, 3, 1, 2), {"stride": 3}, ("convolution", 1, 5, 6)),
    ((1, 3, 9, 7), (5, 3, 4, 4), {"auto_pad": "same_upper", "stride": 2}, ("convolution", 1, 5, 48)),
    ((1, 3, 9), (5, 3, 3), {"pad": 1}, ("convolution", 1, 5, 9)),
    ((1, 4, 9, 7), (4, 1, 1, 3, 3), {"grouped": True, "pad": 1}, ("depthwise_convolution", 4, 1, 9)),
    ((1, 4, 9, 7), (4, 2, 1, 3, 3), {"grouped": True}, ("depthwise_convolution", 4, 2, 9)),
    ((1, 4, 9, 7), (2, 3, 2, 3, 3), {"grouped": True, "stride": 2}, ("grouped_convolution", 2, 3, 18)),
    ((1, 2, 5, 6, 7), (3, 2, 3, 1, 2), {"stride": 2, "pad": 1}, ("convolution", 1, 3, 12)),
    ((1, 4, 5, 6, 7), (2, 3, 2, 3, 3, 3), {"grouped": True}, ("grouped_convolution", 2, 3, 54)),
    ((1, 4, 5, 6, 7), (4, 1, 1, 3, 3, 3), {"grouped": True, "pad": 1}, ("depthwise_convolution", 4, 1, 27)),
]
TRANSPOSED: list[tuple[Sequence[int], Sequence[int], tuple[str, int, int, int]]] = [
    ((1, 3, 5), (3, 4, 3), ("transposed_convolution", 1, 4, 9)),
    ((1, 3, 5, 4), (3, 4, 3, 2), ("transposed_convolution", 1, 4, 18)),
    ((1, 3, 5, 4, 3), (3, 4, 3, 2, 1), ("transposed_convolution", 1, 4, 18)),
    ((1, 6, 5, 4), (2, 3, 4, 3, 2), ("grouped_transposed_convolution", 2, 4, 18)),
    ((1, 6, 5, 4), (6, 1, 2, 3, 2), ("depthwise_transposed_convolution", 6, 2, 6)),
]
MATMULS: list[tuple[Sequence[int], Sequence[int], dict[str, bool], tuple[int, int, bool]]] = [
    ((1, 6), (4, 6), {"transpose_b": True}, (4, 6, False)),
    ((1, 6), (6, 4), {}, (4, 6, True)),
    ((1, 5, 6), (4, 6), {"transpose_b": True}, (4, 6, False)),
    ((1, 5, 6), (6, 4), {}, (4, 6, True)),
    ((1, 6, 5), (6, 4), {"transpose_a": True}, (4, 6, True)),
    ((1, 2, 5, 6), (6, 4), {}, (4, 6, True)),
    ((1, 5, 6), (1, 6, 4), {}, (4, 6, True)),
    ((1, 5, 6), (1, 1, 4, 6), {"transpose_b": True}, (4, 6, False)),
]
BATCHES: list[tuple[Sequence[int], Sequence[int], bool]] = [
    ((1, 3, 5, 6), (3, 6, 4), False),
    ((1, 5, 6), (3, 4, 6), True),
    ((1, 2, 3, 5, 6), (2, 1, 6, 4), False),
]


@pytest.mark.parametrize(("shape", "weight_shape", "options", "expected"), CONVOLUTIONS)
def test_a_convolution_is_described_by_its_matrices_and_macs(
    shape: Sequence[int], weight_shape: Sequence[int], options: dict[str, Any], expected: tuple[str, int, int, int]
) -> None:
    model = convolution_model(shape, weight_shape, **options)
    (layer,) = find_layers(model).layers
    assert (layer.name, layer.kind, layer.groups, layer.rows, layer.columns) == ("layer", *expected)
    assert layer.weight_shape == tuple(weight_shape)
    assert (layer.weight_port, layer.data_port, layer.transposed, layer.group) == (1, 0, False, "layer")
    assert layer.weights == math.prod(weight_shape)
    # Each value of the output is a product of `columns` inputs.
    assert layer.macs == math.prod(model.output(0).shape) * layer.columns
    assert layer.output_channels == model.output(0).shape[1]
    assert layer.activation_quantizers == ("image",)


@pytest.mark.parametrize(("shape", "weight_shape", "options", "expected"), MATMULS)
def test_a_matmul_is_described_by_its_matrix_and_macs(
    shape: Sequence[int], weight_shape: Sequence[int], options: dict[str, bool], expected: tuple[int, int, bool]
) -> None:
    model = matmul_model(shape, weight_shape, **options)
    (layer,) = find_layers(model).layers
    assert (layer.rows, layer.columns, layer.transposed) == expected
    assert (layer.kind, layer.groups) == ("matmul", 1)
    assert layer.macs == math.prod(model.output(0).shape) * layer.columns
    assert layer.output_channels == model.output(0).shape[-1]


def transposed_model(shape: Sequence[int], weight_shape: Sequence[int]) -> ov.Model:
    spatial = len(shape) - 2
    grouped = len(weight_shape) > len(shape)
    make = opset.group_convolution_backprop_data if grouped else opset.convolution_backprop_data
    sizes = ([2] * spatial, None, [1] * spatial, [0] * spatial, [1] * spatial)
    return make_model(lambda data: make(data, random_constant(*weight_shape), *sizes, name="layer"), shape)


@pytest.mark.parametrize(("shape", "weight_shape", "expected"), TRANSPOSED)
def test_a_transposed_convolution_is_described_by_its_matrices_and_macs(
    shape: Sequence[int], weight_shape: Sequence[int], expected: tuple[str, int, int, int]
) -> None:
    model = transposed_model(shape, weight_shape)
    (layer,) = find_layers(model).layers
    assert (layer.kind, layer.groups, layer.rows, layer.columns) == expected
    assert (layer.transposed, layer.output_channels) == (True, model.output(0).shape[1])
    # Each weight is multiplied by each position of the input.
    assert layer.macs == math.prod(weight_shape) * math.prod(shape[2:])
    # Grouped ones are computed in floating point: their input is not quantized.
    assert layer.integer_kernel == (layer.kind == "transposed_convolution")
    assert layer.activation_quantizers == (("image",) if layer.integer_kernel else ())
    assert [point.name for point in find_layers(model).activation_points] == list(layer.activation_quantizers)


@pytest.mark.parametrize(("shape", "weight_shape", "transpose_b"), BATCHES)
def test_a_batch_of_matrices_is_one_layer(shape: Sequence[int], weight_shape: Sequence[int], transpose_b: bool) -> None:
    model = matmul_model(shape, weight_shape, transpose_b=transpose_b)
    (layer,) = find_layers(model).layers
    assert (layer.kind, layer.groups, layer.rows, layer.columns) == ("matmul", math.prod(weight_shape[:-2]), 4, 6)
    assert layer.macs == math.prod(model.output(0).shape) * layer.columns


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_recurrent_operation_is_one_layer_with_both_of_its_weights(kind: str, direction: str) -> None:
    model = recurrent_model(kind, direction)
    quantizable = find_layers(model)
    (layer,) = quantizable.layers
    directions, gates = (2 if direction == "bidirectional" else 1), GATES[kind] * STATES
    assert (layer.kind, layer.groups, layer.rows, layer.columns) == (kind, directions, gates, INPUTS + STATES)
    assert layer.macs == directions * gates * (INPUTS + STATES) * STEPS
    operation = operations_by_name(model)["layer"]
    parts = layer.split(layer_weight(layer, operation))
    for port, part in zip(layer.weight_ports, parts, strict=True):
        np.testing.assert_array_equal(part, constant_value(operation, port))
    # The initial states are not quantized, although NNCF would do it: it costs the int8 kernel.
    assert [point.name for point in quantizable.activation_points] == ["image"] == list(layer.activation_quantizers)


def test_initial_states_that_are_computed_are_not_quantized() -> None:
    """PyTorch makes zeros of the size of the batch: NNCF puts a quantizer behind them."""
    model = to_openvino(torch.nn.LSTM(4, 3, batch_first=True), (1, 6, 4))
    (image,) = model.get_parameters()
    placed = [point.name for point in find_placement(model).activations]
    assert len(placed) > 1
    assert [point.name for point in find_layers(model).activation_points] == [image.get_friendly_name()]


def test_an_embedding_can_have_eight_bits_only() -> None:
    (layer,) = find_layers(embedding_model()).layers
    assert (layer.kind, layer.groups, layer.rows, layer.columns, layer.macs) == ("embedding", 1, 7, 5, 0)
    assert (layer.allowed_bits, layer.integer_kernel) == ((8,), False)


def test_bit_widths_that_a_layer_cannot_have_are_no_choice() -> None:
    quantizable = find_layers(embedding_model(layer="last"))
    assert quantizable.choices([2, 4], [8]) == {"embedding": (8,), "last": (2, 4)}
    assert quantizable.choices([8, 4], [8], with_float=True) == {"embedding": (8,), "last": (4, 8, FLOAT_CHOICE)}


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda data: opset.matmul(random_constant(6, 10), data, False, False, name="layer"),
            "on the left of a MatMul",
        ),
        (lambda data: opset.matmul(opset.relu(data), random_constant(5), False, False, name="layer"), "a vector has"),
    ],
)
def test_what_nncf_would_quantize_and_stays_float_is_named(build: Callable[[ov.Node], ov.Node], reason: str) -> None:
    def with_layer(data: ov.Node) -> ov.Node:
        values = opset.matmul(data, random_constant(5, 5), False, False, name="first")
        return build(values)

    found = find_layers(make_model(with_layer, (1, 10, 5))).unsupported
    assert list(found) == ["layer"]
    assert reason in found["layer"]


ALL_MODELS = [convolution_model(shape, weights, **options) for shape, weights, options, _ in CONVOLUTIONS]
ALL_MODELS += [matmul_model(shape, weights, **options) for shape, weights, options, _ in MATMULS]


ALL_MODELS += [transposed_model(shape, weights) for shape, weights, _ in TRANSPOSED]
ALL_MODELS += [matmul_model(shape, weights, transpose_b=transpose_b) for shape, weights, transpose_b in BATCHES]
ALL_MODELS += [recurrent_model("lstm", "bidirectional"), embedding_model()]


@pytest.mark.parametrize("model", ALL_MODELS)
def test_matrices_and_weights_convert_into_each_other(model: ov.Model) -> None:
    (layer,) = find_layers(model).layers
    weights = np.arange(layer.weights, dtype=np.float32).reshape(layer.weight_shape)
    matrices = layer.to_matrices(weights)
    assert matrices.shape == (layer.groups, layer.rows, layer.columns)
    np.testing.assert_array_equal(layer.from_matrices(matrices), weights)
    np.testing.assert_array_equal(layer.to_matrices(layer.from_matrices(matrices)), matrices)
    # One value per output channel broadcasts to the rows of the matrices.
    channels = np.arange(layer.output_channels, dtype=np.float32).reshape(layer.groups, layer.rows)
    scaled = layer.to_matrices(weights * channels.reshape(layer.channel_shape()))
    np.testing.assert_array_equal(scaled, matrices * channels[..., None])


def test_the_layers_of_a_network_are_found_in_order_with_their_quantizers() -> None:
    quantizable = find_layers(to_openvino(small_network(), SAMPLE_SIZE))
    assert [layer.kind for layer in quantizable.layers] == [
        "convolution",
        "depthwise_convolution",
        "convolution",
        "matmul",
    ]
    points = {point.name: point for point in quantizable.activation_points}
    for layer in quantizable.layers:
        assert len(layer.activation_quantizers) == 1
        assert layer.name in points[layer.activation_quantizers[0]].operations
    assert quantizable.quantizable_weights == 3 * 8 * 9 + 8 * 9 + 8 * 8 + 8 * 5
    assert quantizable.layer(quantizable.layers[2].name) is quantizable.layers[2]


def test_layers_that_read_one_constant_are_one_group() -> None:
    quantizable = find_layers(shared_weights_model())
    assert {name: [item.name for item in members] for name, members in quantizable.groups.items()} == {
        "first": ["first", "second"],
        "last": ["last"],
    }
    assert quantizable.quantizable_weights == 4 * 4 * 9 + 2 * 4


def test_layers_that_read_one_constant_in_different_layouts_are_not_one_group() -> None:
    def build(data: ov.Node) -> ov.Node:
        weights = random_constant(6, 10, name="tied")
        encoded = opset.relu(opset.matmul(data, weights, False, True, name="encoder"))
        return opset.matmul(encoded, weights, False, False, name="decoder")

    quantizable = find_layers(make_model(build, (1, 10)))
    assert [(layer.rows, layer.columns) for layer in quantizable.layers] == [(6, 10), (10, 6)]
    assert set(quantizable.groups) == {"encoder", "decoder"}


def test_the_inputs_of_a_concat_share_a_scale() -> None:
    quantizable = find_layers(concat_model())
    assert quantizable.unified_scales == (("relu_left", "relu_right"),)
    assert set(quantizable.layer("last").activation_quantizers) == {"relu_left", "relu_right"}


@pytest.mark.parametrize(
    ("scopes", "left"),
    [
        ([], ["first", "second", "last"]),
        (["last"], ["first", "second"]),
        (["{re}^(first|second)$"], ["last"]),
        (["first", "{re}sec"], ["last"]),
    ],
)
def test_ignored_scopes_stay_in_float(scopes: list[str], left: list[str]) -> None:
    assert [layer.name for layer in find_layers(shared_weights_model(), scopes).layers] == left


@pytest.mark.parametrize("scope", ["lost", "{re}nowhere"])
def test_an_ignored_scope_that_matches_nothing_is_an_error(scope: str) -> None:
    with pytest.raises(
        ConfigError, match=r"compression.ignored_scopes: found \['first', '.*'\], allowed: names in"
    ) as caught:
        find_layers(shared_weights_model(), ["first", scope])
    assert scope.removeprefix("{re}") in caught.value.allowed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_an_error(value: float) -> None:
    weights = np.ones((2, 3, 1, 1), dtype=np.float32)
    weights[1, 2] = value
    model = make_model(lambda data: convolution(data, opset.constant(weights), "broken"), SAMPLE_SIZE)
    with pytest.raises(QuantizationError, match="broken: its weights hold values that are not finite"):
        find_layers(model)


def test_a_model_without_layers_to_quantize_is_an_error() -> None:
    product_of_activations = make_model(lambda data: opset.matmul(data, opset.relu(data), False, True), (1, 4, 4))
    for model in (make_model(lambda data: opset.relu(data), SAMPLE_SIZE), product_of_activations):
        with pytest.raises(QuantizationError, match="no Convolution or MatMul with constant weights"):
            find_layers(model)
    with pytest.raises(QuantizationError, match="no Convolution or MatMul"):
        find_layers(convolution_model(SAMPLE_SIZE, (2, 3, 1, 1)), ["layer"])


def test_a_matmul_whose_weights_come_first_stays_in_float() -> None:
    def build(data: ov.Node) -> ov.Node:
        values = opset.matmul(random_constant(6, 10), data, False, False, name="left_weights")
        return opset.matmul(values, random_constant(5, 4), False, False, name="right_weights")

    quantizable = find_layers(make_model(build, (1, 10, 5)))
    assert [layer.name for layer in quantizable.layers] == ["right_weights"]
    assert "left_weights" in quantizable.ignored_scope.names


def test_half_precision_weights_are_layers_too() -> None:
    def build(data: ov.Node) -> ov.Node:
        half = opset.constant(random_constant(4, 3, 1, 1).get_data().astype(np.float16))
        return convolution(data, opset.convert(half, "f32"), "half")

    assert [layer.weight_shape for layer in find_layers(make_model(build, SAMPLE_SIZE)).layers] == [(4, 3, 1, 1)]


@pytest.mark.parametrize("build", [shared_weights_model, concat_model])
def test_the_model_is_not_edited(build: Any) -> None:
    model = build()
    before = operation_types(model), weights_of(model)
    find_layers(model)
    assert (operation_types(model), weights_of(model)) == before
