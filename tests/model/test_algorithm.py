from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from nncf.common import insertion_point_graph
from nncf.common.graph.patterns.manager import PatternsManager
from nncf.common.graph.patterns.patterns import GraphPattern
from nncf.common.utils.backend import BackendType
from nncf.parameters import TargetDevice
from nncf.quantization.algorithms.min_max.algorithm import MinMaxQuantization
from nncf.quantization.algorithms.pipeline import Pipeline
from nncf.tensor import Tensor
from nncf.torch.model_creation import wrap_model
from nncf.torch.quantization.extensions import QuantizedFunctionsCPU
from nncf.torch.quantization.layers import BaseQuantizer
from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

from nncf_mcq import MixedClippingQuantization, Policy
from nncf_mcq.model.algorithm import QuantizerPlacement, ValueRange, find_placement, ignored_scope, run_pipeline
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nncf_versions import MinMaxTensorStatistic, TensorCollector, build_graph
from nncf_mcq.model.nodes import constant_value, operations_by_name
from nncf_mcq.range_init.grid import QuantizationMode, grid_from_range
from tests.models import SAMPLE_SIZE, as_dataset, concat_model, convolution_model, random_images, small_network

DATASET = as_dataset(random_images(2))
WIDTHS = (3, 4, 5, 6)


def fake_quantize(model: ov.Model, operation: str, port: int) -> ov.Node:
    node = operations_by_name(model)[operation].input_value(port).get_node()
    assert node.get_type_name() == "FakeQuantize"
    return node


def fake_quantize_range(node: ov.Node) -> tuple[np.ndarray, np.ndarray]:
    low, high, output_low, output_high = (constant_value(node, port) for port in range(1, 5))
    np.testing.assert_array_equal(low, output_low)
    np.testing.assert_array_equal(high, output_high)
    return low, high


def network() -> ov.Model:
    return to_openvino(small_network(), SAMPLE_SIZE)


def contents(pattern: GraphPattern) -> tuple[list[Any], list[Any]]:
    return list(pattern.graph.nodes(data=True)), list(pattern.graph.edges(data=True))


@pytest.mark.parametrize("name", ["get_full_hw_pattern_graph", "get_full_ignored_pattern_graph"])
def test_patterns_that_all_tests_share_are_as_they_were_made(name: str) -> None:
    """See `tests/conftest.py`."""
    find = getattr(PatternsManager, name)
    arguments = {"backend": BackendType.OPENVINO, "device": TargetDevice.ANY, "model_type": None}
    find_placement(network())
    assert find(**arguments) is find(**arguments)
    assert find.cache_info().hits
    assert contents(find(**arguments)) == contents(find.__wrapped__(**arguments))


def test_matches_that_all_tests_share_are_those_of_each_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `tests/conftest.py`."""
    find = insertion_point_graph.find_subgraphs_matching_pattern
    matches: list[list[list[str]]] = []

    def compared(*arguments: Any) -> list[list[str]]:
        found: list[list[str]] = find(*arguments)
        assert found == find.__wrapped__(*arguments)
        matches.append(found)
        return found

    monkeypatch.setattr(insertion_point_graph, "find_subgraphs_matching_pattern", compared)
    for model in (network(), network(), concat_model()):
        find_placement(model)
    assert matches[0] == matches[1] != matches[2]


def policy_of(placement: QuantizerPlacement) -> Policy:
    weights = {point.operation: bits for point, bits in zip(placement.weights, WIDTHS, strict=True)}
    return Policy(weights, {point.name: 2 + index for index, point in enumerate(placement.activations)})


def clip_range(weights: np.ndarray, bits: int, mode: QuantizationMode, axis: int | None) -> ValueRange:
    """The range of a grid that reaches 70 % of the extremes, per output channel or per tensor."""
    axes = tuple(index for index in range(weights.ndim) if index != axis)
    low, high = (torch.from_numpy(0.7 * np.asarray(f(weights, axis=axes, keepdims=True))) for f in (np.min, np.max))
    grid = grid_from_range(low, high, bits, mode)
    shape = low.shape if axis is not None else ()
    return ValueRange(grid.range_low.numpy().reshape(shape), grid.range_high.numpy().reshape(shape))


# --- the private parts of NNCF that the module's docstring names ---


def test_find_quantization_setup_returns_a_setup_whose_configs_can_be_changed() -> None:
    class Narrow(MinMaxQuantization):  # type: ignore[misc]
        def find_quantization_setup(self, model: ov.Model, nncf_graph: object) -> object:
            setup = super().find_quantization_setup(model, nncf_graph)
            points = list(setup.quantization_points.values())
            assert {point.is_weight_quantization_point() for point in points} == {True, False}
            for point in points:
                assert isinstance(point.insertion_point.target_node_name, str)
                point.qconfig.num_bits = 5
            assert isinstance(setup.unified_scale_groups, dict)
            return setup

    quantized = Pipeline([[Narrow(subset_size=1)]]).run(convolution_model(SAMPLE_SIZE, (4, 3, 3, 3)), DATASET)
    assert fake_quantize(quantized, "layer", 1).get_attributes()["levels"] == 31
    assert fake_quantize(quantized, "layer", 0).get_attributes()["levels"] == 32


def test_get_stat_collector_is_asked_for_the_range_of_every_quantizer() -> None:
    parameters = list(inspect.signature(MinMaxQuantization._get_stat_collector).parameters)
    assert parameters == ["self", "graph", "target_point", "qconfig", "batchwise_statistics"]
    asked: list[tuple[str, bool]] = []

    class Listening(MinMaxQuantization):  # type: ignore[misc]
        def _get_stat_collector(self, graph: object, target_point: object, *rest: object) -> TensorCollector:
            asked.append((target_point.target_node_name, target_point.is_weight_target_point()))  # type: ignore[attr-defined]
            return super()._get_stat_collector(graph, target_point, *rest)

    Pipeline([[Listening(subset_size=1)]]).run(convolution_model(SAMPLE_SIZE, (4, 3, 3, 3)), DATASET)
    assert sorted(set(asked)) == [("image", False), ("layer", True)]


def test_target_points_are_found_from_the_points_of_a_setup() -> None:
    model = convolution_model(SAMPLE_SIZE, (4, 3, 3, 3))
    graph = build_graph(model)
    algorithm = MinMaxQuantization()
    algorithm._set_backend_entity(model)
    algorithm._reset_cache()
    algorithm._init_cache()
    setup = algorithm.find_quantization_setup(model, graph)
    points = algorithm._topological_sort_quantization_points(list(setup.quantization_points.values()), graph)
    assert [point.is_weight_quantization_point() for point in points] == [False, True]
    (weight,) = algorithm._get_weight_quantization_target_points(points[1], graph)
    assert points[0].insertion_point.target_node_name == "image"
    assert (weight.target_node_name, weight.port_id) == ("layer", 1)
    assert points[0].directly_quantized_operator_node_names == ["layer"]


def test_set_cache_makes_a_collector_that_knows_its_result() -> None:
    collector = TensorCollector(MinMaxTensorStatistic)
    low, high = (Tensor(np.full((1, 2), value, dtype=np.float32)) for value in (-1, 2))
    collector.set_cache(MinMaxTensorStatistic(min_values=low, max_values=high))
    statistics = collector.get_statistics()
    np.testing.assert_array_equal(statistics.min_values.data, low.data)
    np.testing.assert_array_equal(statistics.max_values.data, high.data)
    assert not collector.reducers


def test_the_pipeline_edits_its_model_in_place_or_returns_another() -> None:
    model = convolution_model(SAMPLE_SIZE, (4, 3, 3, 3))
    quantized = Pipeline([[MinMaxQuantization(subset_size=1)]]).run(model.clone(), DATASET)
    assert sum(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops()) == 2
    assert not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


# --- OpenVINO ---


@pytest.mark.parametrize("asymmetric", [False, True])
def test_levels_follow_the_policy(asymmetric: bool) -> None:
    model = network()
    placement = find_placement(model)
    policy = policy_of(placement)
    algorithm = MixedClippingQuantization(policy, asymmetric_weights=asymmetric, subset_size=1)
    quantized = run_pipeline(algorithm, model.clone(), DATASET)
    for point in placement.weights:
        bits = policy.weight_bits[point.operation]
        levels = fake_quantize(quantized, point.operation, point.port).get_attributes()["levels"]
        assert levels == (2**bits if asymmetric else 2**bits - 1)
    for activation in placement.activations:
        if activation.operations == ():
            continue
        inputs = [operations_by_name(quantized)[name].input_values() for name in activation.operations]
        found = {
            value.get_node().get_attributes()["levels"]
            for values in inputs
            for value in values
            if value.get_node().get_friendly_name().startswith(f"{activation.name}/")
        }
        assert found == {2 ** policy.activation_bits[activation.name]}


def test_what_a_policy_does_not_name_gets_eight_bits_symmetric() -> None:
    algorithm = MixedClippingQuantization(Policy({}), asymmetric_weights=True, subset_size=1)
    quantized = run_pipeline(algorithm, convolution_model(SAMPLE_SIZE, (4, 3, 3, 3)), DATASET)
    assert fake_quantize(quantized, "layer", 1).get_attributes()["levels"] == 255
    assert fake_quantize(quantized, "layer", 0).get_attributes()["levels"] == 256


@pytest.mark.parametrize("axis", [0, None], ids=["per channel", "per tensor"])
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
def test_weight_ranges_follow_the_clip_table(bits: int, mode: QuantizationMode, axis: int | None) -> None:
    model = convolution_model(SAMPLE_SIZE, (4, 3, 3, 3))
    weights = constant_value(operations_by_name(model)["layer"], 1)
    expected = clip_range(weights, bits, mode, axis)
    algorithm = MixedClippingQuantization(
        Policy({"layer": bits}), {"layer": expected}, asymmetric_weights=mode == "asymmetric", subset_size=1
    )
    quantized = run_pipeline(algorithm, model, DATASET)
    low, high = fake_quantize_range(fake_quantize(quantized, "layer", 1))
    assert low.size == (4 if axis == 0 else 1)
    np.testing.assert_allclose(low.reshape(np.shape(expected.low)), expected.low, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(high.reshape(np.shape(expected.high)), expected.high, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activation_ranges_follow_the_table(bits: int) -> None:
    model = convolution_model(SAMPLE_SIZE, (3, 1, 1, 3, 3), grouped=True)
    high = np.array([0.5, 1.5, 2.5], dtype=np.float32).reshape(1, 3, 1, 1)
    for low in (np.zeros_like(high), -high):
        algorithm = MixedClippingQuantization(Policy({}, {"image": bits}), None, {"image": ValueRange(low, high)})
        found_low, found_high = fake_quantize_range(
            fake_quantize(run_pipeline(algorithm, model.clone(), DATASET), "layer", 0)
        )
        np.testing.assert_allclose(found_high, high, rtol=1e-6)
        # A signed grid has one level more below zero than above.
        negative = low * 2 ** (bits - 1) / (2 ** (bits - 1) - 1)
        np.testing.assert_allclose(found_low, negative, rtol=1e-6)


def test_a_point_without_a_known_range_keeps_the_range_that_nncf_finds() -> None:
    model = convolution_model(SAMPLE_SIZE, (4, 3, 3, 3))
    weights = constant_value(operations_by_name(model)["layer"], 1)
    quantized = run_pipeline(MixedClippingQuantization(Policy({"layer": 4}), subset_size=2), model, DATASET)
    _, high = fake_quantize_range(fake_quantize(quantized, "layer", 1))
    np.testing.assert_allclose(high.reshape(-1), np.abs(weights).max(axis=(1, 2, 3)), rtol=1e-6)


def test_points_of_one_concat_are_unified_and_named() -> None:
    placement = find_placement(concat_model())
    assert placement.unified_scales == (("relu_left", "relu_right"),)
    assert {"image", "relu_left", "relu_right"} <= {point.name for point in placement.activations}


def test_ignored_scopes_are_names_or_patterns() -> None:
    scope = ignored_scope(["a", "{re}b.*", "c"])
    assert (scope.names, scope.patterns) == (["a", "c"], ["b.*"])
    placement = find_placement(concat_model(), ignored_scope(["{re}^l"]))
    assert [point.operation for point in placement.weights] == ["right"]


# --- PyTorch ---


@pytest.fixture
def eager_quantizers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NNCF's own Python quantizers, its fallback where there is no C++ compiler, without torch.compile."""
    monkeypatch.setattr(QuantizedFunctionsCPU, "_loaded_namespace", ReferenceQuantizedFunctions)
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.mark.usefixtures("eager_quantizers")
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("axis", [0, None], ids=["per channel", "per tensor"])
def test_a_torch_model_gets_the_bits_and_ranges_of_the_tables(mode: QuantizationMode, axis: int | None) -> None:
    module = small_network()
    wrapped = wrap_model(module, example_input=torch.zeros(SAMPLE_SIZE), trace_parameters=True)
    placement = find_placement(wrapped)
    names = ["stem/conv2d/0", "depthwise/conv2d/0", "pointwise/conv2d/0", "head/linear/0"]
    assert [(point.operation, point.port) for point in placement.weights] == [(name, 1) for name in names]
    policy = policy_of(placement)
    parameters = {name: getattr(module, name.split("/")[0]).weight.detach().numpy() for name in names}
    clips = {name: clip_range(weight, policy.weight_bits[name], mode, axis) for name, weight in parameters.items()}
    activations = {
        point.name: ValueRange(np.float32(-1 - index if index % 2 else 0), np.float32(1 + index))  # type: ignore[arg-type]
        for index, point in enumerate(placement.activations)
    }
    images = torch.from_numpy(random_images(4))
    with torch.no_grad():
        before = wrapped.model(images)
    algorithm = MixedClippingQuantization(policy, clips, activations, asymmetric_weights=mode == "asymmetric")
    quantized = run_pipeline(algorithm, wrapped, nncf.Dataset([images[:1]])).model
    quantizers = {
        name.partition("__nncf_hooks.")[2]: item
        for name, item in quantized.named_modules()
        if isinstance(item, BaseQuantizer)
    }
    expected_names = [f"pre_hooks.{name}__1.0" for name in names]
    expected_names += [f"post_hooks.{point.name}__0.0" for point in placement.activations]
    assert sorted(quantizers) == sorted(expected_names)
    with torch.no_grad():
        for name in names:
            quantizer, expected = quantizers[f"pre_hooks.{name}__1.0"], clips[name]
            assert quantizer.num_bits == policy.weight_bits[name]
            low, high = (np.asarray(value) for value in quantizer.get_input_low_input_high())
            np.testing.assert_allclose(high.reshape(np.shape(expected.high)), expected.high, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(low.reshape(np.shape(expected.low)), expected.low, rtol=1e-4, atol=1e-6)
            rows = quantizer(torch.from_numpy(parameters[name])).flatten(1)
            assert all(row.unique().numel() <= 2**quantizer.num_bits for row in rows)
        for point in placement.activations:
            quantizer = quantizers[f"post_hooks.{point.name}__0.0"]
            assert quantizer.num_bits == policy.activation_bits[point.name]
            _, high = quantizer.get_input_low_input_high()
            np.testing.assert_allclose(high.numpy().reshape(()), activations[point.name].high, rtol=1e-4)
        after = quantized(images)
    assert after.shape == before.shape
    assert bool(torch.isfinite(after).all())
    assert float((after - before).abs().max()) > 1e-3


def test_other_backends_are_refused() -> None:
    algorithm = MixedClippingQuantization(Policy({}))
    assert algorithm.available_backends == [BackendType.OPENVINO, BackendType.TORCH]
    exported = torch.export.export(small_network(), (torch.zeros(SAMPLE_SIZE),)).module()
    with pytest.raises(nncf.UnsupportedBackendError, match="TorchFX models are not supported"):
        find_placement(exported)
    with pytest.raises(nncf.UnsupportedBackendError, match="TorchFX models are not supported"):
        run_pipeline(algorithm, exported, DATASET)
