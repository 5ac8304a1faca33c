from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.plugin_graph import NotSupportedError, PluginGraph, import_graph
from nncf_mcq.model.segment_request import Part, SegmentRequest
from nncf_mcq.model.segments import SegmentedGraph
from tests.ir.networks import fake_quantize
from tests.models import convolution, make_model

SHAPE = (2, 4, 10, 10)

LAYERS = ("first", "depthwise", "last")


def int8(data: ov.Node, name: str, low: float = -4.0) -> ov.Node:
    quantizer = fake_quantize(data, np.array(low), np.array(4 * 127 / 128 if low else 4.0), 256)
    quantizer.set_friendly_name(name)
    return quantizer


def weight(seed: int, *shape: int) -> ov.Node:
    integers = np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)
    return opset.multiply(opset.convert(opset.constant(integers), "f32"), np.float32(2**-8))


def chain(seed: int = 0, residual: bool = False) -> ov.Model:
    """Three layers that each read an 8-bit tensor; with `residual` the last adds to the output of the first."""

    def build(data: ov.Node) -> ov.Node:
        first = convolution(int8(data, "image_grid"), weight(seed, 6, 4, 3, 3), "first", pad=1)
        inner = int8(opset.relu(first), "first_grid", 0)
        inner = convolution(inner, weight(seed + 1, 6, 1, 1, 3, 3), "depthwise", pad=1, grouped=True)
        last = convolution(int8(inner, "depthwise_grid"), weight(seed + 2, 6, 6, 1, 1), "last")
        return opset.add(last, first) if residual else last

    return make_model(build, SHAPE)


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def compiled_segments(model: ov.Model) -> tuple[SegmentedGraph, list[ov.CompiledModel]]:
    graph = SegmentedGraph(PluginGraph.of(model), LAYERS)
    return graph, [import_graph(graph.file(segment)) for segment in graph.segments]


def parts(compiled: list[ov.CompiledModel], name: str = "") -> list[Part]:
    return [((name, index), model) for index, model in enumerate(compiled)]


def run(request: SegmentRequest, model: list[Part], *batches: np.ndarray) -> list[np.ndarray]:
    request.begin(model)
    outputs = []
    for batch in batches:
        request.infer([batch])
        outputs.append(request.output_tensors[0].data)
    return outputs


def test_each_layer_is_a_segment_of_its_own_and_they_compute_what_the_whole_computes() -> None:
    model = chain()
    graph, compiled = compiled_segments(model)
    assert [segment.layers for segment in graph.segments if segment.layers] == [(name,) for name in LAYERS]
    assert graph.segments[0].parameters == (0,)
    assert graph.segments[-1].results == (0,)
    whole = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = run(SegmentRequest(graph.segments, 2), parts(compiled), images(0), images(1))
    for seed, output in enumerate(found):
        np.testing.assert_array_equal(output, whole([images(seed)])[0])


def test_channels_are_last_between_segments() -> None:
    graph, _ = compiled_segments(chain())
    tensors = [tensor for segment in graph.segments for tensor in segment.outputs]
    assert {tensor.shape for tensor in tensors} == {(2, 10, 10, 4), (2, 10, 10, 6)}


def test_weights_make_no_other_segments() -> None:
    first, second = (SegmentedGraph(PluginGraph.of(chain(seed)), LAYERS) for seed in (0, 7))
    assert first.segments == second.segments
    assert [first.file(segment) for segment in first.segments] != [second.file(segment) for segment in second.segments]


def test_what_a_float_tensor_connects_is_not_cut() -> None:
    model = chain(residual=True)
    graph, compiled = compiled_segments(model)
    assert [segment.layers for segment in graph.segments if segment.layers] == [tuple(sorted(LAYERS))]
    whole = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (output,) = run(SegmentRequest(graph.segments, 1), parts(compiled), images())
    np.testing.assert_array_equal(output, whole([images()])[0])


def test_segments_of_two_models_can_be_mixed() -> None:
    mixed = chain(0)
    # The last layer's weights of another model.
    operations_by_name(mixed)["last"].input(1).replace_source_output(weight(9, 6, 6, 1, 1).output(0))
    graph, compiled = compiled_segments(chain(0))
    _, others = compiled_segments(chain(7))
    whole = ov.Core().compile_model(mixed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (output,) = run(SegmentRequest(graph.segments, 1), parts([*compiled[:-1], others[-1]]), images())
    np.testing.assert_array_equal(output, whole([images()])[0])


def test_a_model_begins_where_it_differs_from_the_one_before() -> None:
    graph, compiled = compiled_segments(chain(0))
    _, others = compiled_segments(chain(7))
    request = SegmentRequest(graph.segments, 2)
    run(request, parts(compiled), images(0), images(1))
    expected = run(SegmentRequest(graph.segments, 2), parts([*compiled[:-1], others[-1]]), images(0), images(1))
    # Other segments under the names of those that are known: were they run, the outputs would be others.
    known, other = parts([*others[:-1]]), parts(others, "other")[-1]
    for found, output in zip(run(request, [*known, other], images(0), images(1)), expected, strict=True):
        np.testing.assert_array_equal(found, output)
    fresh = run(SegmentRequest(graph.segments, 2), [*known, other], images(0), images(1))
    assert not np.array_equal(fresh[0], expected[0])


def test_nothing_is_kept_of_a_run_that_ends_early() -> None:
    graph, compiled = compiled_segments(chain(0))
    _, others = compiled_segments(chain(7))
    request = SegmentRequest(graph.segments, 1)
    (expected,) = run(request, parts(compiled), images())
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        run(request, parts(others, "other")[:-1], images())
    np.testing.assert_array_equal(run(request, parts(compiled), images())[0], expected)


def without_a_layer(graph: PluginGraph) -> None:
    SegmentedGraph(graph, [*LAYERS, "another"])


def with_two_of_a_name(graph: PluginGraph) -> None:
    for node in graph.network.iterfind("layers/layer"):
        node.attrib["name"] = "one"
    SegmentedGraph(graph, [])


@pytest.mark.parametrize("read", [without_a_layer, with_two_of_a_name])
def test_a_graph_that_is_not_understood_is_refused(read: Callable[[PluginGraph], None]) -> None:
    with pytest.raises(NotSupportedError):
        read(PluginGraph.of(chain()))


def test_a_file_that_the_plugin_does_not_take_is_refused() -> None:
    graph = SegmentedGraph(PluginGraph.of(chain()), LAYERS)
    file = graph.file(graph.segments[0])
    for damaged in (file[: len(file) // 2], file.replace(b"<net ", b"<not ")):
        with pytest.raises(NotSupportedError):
            import_graph(damaged)
