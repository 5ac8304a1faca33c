from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import nncf
import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.api import quantize
from nncf_mcq.calibration.images import collect_images
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.batching import find_batch_size, single_batch, why_not_together
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples
from nncf_mcq.weights.sequential import shared_batch_size

Build = Callable[[ov.Node], ov.Node]

RANDOM = np.random.default_rng(0)
KERNEL = (RANDOM.standard_normal((6, 3, 3, 3)) * 0.3).astype(np.float32)
POINTWISE = (RANDOM.standard_normal((4, 6, 1, 1)) * 0.5).astype(np.float32)
STEP = (RANDOM.standard_normal((5, 5)) * 0.5).astype(np.float32)


def network(shape: Sequence[int], end: Build, begin: Build = lambda data: data) -> ov.Model:
    """Two convolutions between what begins and what ends the network."""
    data = opset.parameter(ov.PartialShape(list(shape)), np.float32, name="data")
    values = opset.convolution(begin(data), KERNEL, [1, 1], [1, 1], [1, 1], [1, 1], name="first")
    values = opset.convolution(opset.relu(values), POINTWISE, [1, 1], [0, 0], [0, 0], [1, 1], name="second")
    return ov.Model([opset.result(end(values))], [data], "network")


def reshaped(*shape: int) -> Build:
    return lambda values: opset.reshape(values, np.array(shape), special_zero=False)


def without_mean(values: ov.Node) -> ov.Node:
    """What each image has beyond the mean of all images of the batch."""
    return opset.subtract(values, opset.reduce_mean(values, np.array([0]), keep_dims=True))


def same(values: ov.Node) -> ov.Node:
    return values


def data(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def time_first(steps: int) -> ov.Model:
    """(T, 1, 5): a step and the sum of all before it."""
    values = opset.parameter(ov.PartialShape([steps, 1, 5]), np.float32, name="data")
    layer = opset.matmul(values, STEP, False, True, name="step")
    total = opset.cum_sum(opset.relu(layer), opset.constant(np.array(0, np.int64)))
    return ov.Model([opset.result(opset.matmul(total, STEP, False, True, name="last"))], [values], "time")


def with_nms(boxes: int = 6) -> ov.Model:
    """Boxes that non-maximum suppression leaves: their number depends on the image, and the batch is in a column."""
    image = opset.parameter(ov.PartialShape([-1, 3, 8, 8]), np.float32, name="data")
    values = opset.relu(opset.convolution(image, KERNEL, [4, 4], [1, 1], [1, 1], [1, 1], name="first"))
    values = opset.convolution(values, POINTWISE, [1, 1], [0, 0], [0, 0], [1, 1], name="second")
    corners = opset.transpose(opset.reshape(values, np.array([0, 4, 4]), special_zero=True), np.array([0, 2, 1]))
    scores = opset.sigmoid(opset.reduce_sum(corners, np.array([2]), keep_dims=False))
    found = opset.non_max_suppression(
        corners,
        opset.unsqueeze(scores, np.array([1])),
        opset.constant(np.array(boxes, np.int64)),
        opset.constant(np.array(0.5, np.float32)),
        opset.constant(np.array(0.4, np.float32)),
    )
    return ov.Model([opset.result(found.output(1)), opset.result(scores)], [image], "nms")


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (network([-1, 3, 8, 8], same), 4),
        (network([1, 3, 8, 8], reshaped(-1, 4, 64)), 4),
        # A batch of 1 in a constant, as exporters write it.
        (network([1, 3, 8, 8], reshaped(1, 4, 64)), 1),
        (network([1, 3, 8, 8], without_mean), 1),
        (network([1, 3, 8, 8], lambda values: opset.softmax(values, 0)), 1),
        # The batch is there, but not in the first dimension.
        (network([1, 3, 8, 8], lambda values: opset.transpose(values, np.array([1, 0, 2, 3]))), 1),
        (network([3, 8, 8], same, lambda image: opset.unsqueeze(image, np.array([0]))), 1),
        (time_first(3), 1),
        (with_nms(), 1),
    ],
)
def test_samples_share_an_inference_where_no_output_changes(model: ov.Model, size: int) -> None:
    shape = [1 if length.is_dynamic else length.get_length() for length in model.input(0).get_partial_shape()]
    model.reshape(shape)
    samples = data(7, *(shape[1:] if shape[0] == 1 else shape))
    found, reason = find_batch_size(model, samples, 4, 1)
    assert (found, reason == "") == (size, size > 1)
    assert find_batch_size(model, samples[:1], 4, 1) == (1, "")
    # Whatever it is, all outputs are those of the samples alone.
    together = ModelRunner.compile(model, 1, batch_size=found)([samples])
    alone = ModelRunner.compile(model, 1, batch_size=1)([samples])
    for output, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-4)


def test_all_outputs_are_compared() -> None:
    model = network([1, 3, 8, 8], same)
    mixed = opset.reduce_mean(model.output(0).get_node().input_value(0), np.array([0]), keep_dims=True)
    both = ov.Model([*model.get_results(), opset.result(mixed)], model.get_parameters(), "both")
    assert why_not_together(model, data(3, 3, 8, 8), 1) == ""
    assert why_not_together(both, data(3, 3, 8, 8), 1) == "output 1 depends on what else is in the batch"


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (network([4, 3, 8, 8], same), [1, 3, 8, 8]),
        (network([4, 3, 8, 8], reshaped(-1, 4, 64)), [1, 3, 8, 8]),
        (network([4, 3, 8, 8], reshaped(4, 4, 64)), [4, 3, 8, 8]),
        (network([4, 3, 8, 8], without_mean), [4, 3, 8, 8]),
        (network([3, 8, 8], same, lambda image: opset.unsqueeze(image, np.array([0]))), [3, 8, 8]),
        (time_first(3), [3, 1, 5]),
    ],
)
def test_a_batch_of_one_is_taken_where_it_gives_the_same(model: ov.Model, shape: list[int]) -> None:
    own = list(model.input(0).get_shape())
    assert single_batch(model, [own]) == [shape]
    assert list(to_openvino(model, None).input(0).get_shape()) == shape
    assert list(model.input(0).get_shape()) == own


def test_an_open_time_axis_is_told_by_the_configuration() -> None:
    items = [data(3, 1, 5) for _ in range(4)]
    with pytest.raises(QuantizationError, match=r"item 0 of the data set: output 0 .* input_info\.sample_size"):
        quantize(time_first(-1), nncf.Dataset(items), {"runtime": {"threads": 1}})
    info = {"input_info": {"sample_size": [3, 1, 5]}, "runtime": {"threads": 1}}
    result = quantize(time_first(-1), nncf.Dataset(items), info)
    assert list(result.model.input(0).get_shape()) == [3, 1, 5]
    with pytest.raises(ConfigError, match=r"input_info\.sample_size"):
        quantize(time_first(-1), nncf.Dataset(items), info | {"input_info": {"sample_size": [3, 1, 6]}})


@pytest.mark.parametrize(
    ("model", "item"),
    [
        (network([1, 3, 8, 8], reshaped(1, 4, 64)), (1, 3, 8, 8)),
        (network([4, 3, 8, 8], reshaped(4, 4, 64)), (4, 3, 8, 8)),
        (network([4, 3, 8, 8], reshaped(4, 4, 64)), (1, 3, 8, 8)),
        (network([3, 8, 8], same, lambda image: opset.unsqueeze(image, np.array([0]))), (3, 8, 8)),
        (network([3, 8, 8], same, lambda image: opset.unsqueeze(image, np.array([0]))), (1, 3, 8, 8)),
        (time_first(3), (3, 1, 5)),
        (with_nms(), (1, 3, 8, 8)),
    ],
)
def test_such_models_are_searched_measured_and_saved(
    model: ov.Model, item: tuple[int, ...], tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Statistics, sequential pass, scores, report, and verification of the saved file."""
    dataset = nncf.Dataset(list(data(16, *item)))
    config = {
        "compression": {
            "weights": {"bits": [2, 4]},
            "initializer": {"precision": {"type": "greedy", "budget": {"weight_size": {"average_bits": 3}}}},
        },
        "runtime": {"threads": 1, "batch_size": 4},
    }
    with caplog.at_level(logging.WARNING):
        result = quantize(model, dataset, config, report_dataset=dataset)
    assert "runtime.batch_size: found 4, used: 1 (" in caplog.text
    assert result.search.score is not None
    assert np.isfinite(result.search.score)
    assert result.metrics["quantized"]["sqnr_db"] > 0
    result.save(str(tmp_path))


def test_the_second_order_sensitivities_know_a_batch_of_its_own() -> None:
    items = [data(4, 3, 8, 8)] * 2
    config = {
        "compression": {
            "weights": {"bits": [2, 4]},
            "initializer": {
                "precision": {"type": "ilp", "sensitivity": "fisher", "budget": {"weight_size": {"average_bits": 3}}},
            },
        },
        "runtime": {"threads": 1},
    }
    model = network([4, 3, 8, 8], lambda values: opset.reduce_mean(reshaped(4, 4, 64)(values), np.array([2]), False))
    assert quantize(model, nncf.Dataset(items), config).policy.weight_bits.keys() == {"first", "second"}


def test_items_of_other_batches_are_put_together() -> None:
    model = network([4, 3, 8, 8], reshaped(4, 4, 64))
    values = data(16, 3, 8, 8)
    expected = values.reshape(4, 4, 3, 8, 8)
    for size in (1, 4, 8, 16):
        items = [values[start : start + size] for start in range(0, 16, size)]
        np.testing.assert_array_equal(collect_images(items, None, model).arrays[0], expected)
    assert len(collect_images([values[:4]] * 3, 2, model)) == 2
    with pytest.raises(QuantizationError, match=r"item 0 of the data set: found shape \(3, 3, 8, 8\), allowed: \(4, 3"):
        collect_images([values[:3]], None, model)
    with pytest.raises(QuantizationError, match="found 3 items, allowed: 4 or more"):
        collect_images([image[None] for image in values[:3]], None, model)


def test_samples_that_are_no_numbers_are_refused() -> None:
    model, values = network([1, 3, 8, 8], reshaped(1, 256)), data(4, 3, 8, 8)
    values[2, 1, 4, 4] = np.nan
    with pytest.raises(QuantizationError, match="sample 2 of the data set is not finite: it holds NaN"):
        collect_images([image[None] for image in values], None, model)
    assert len(collect_images([image[None] for image in values], 2, model)) == 2


def test_the_report_gives_each_sample_its_own_output() -> None:
    """Of a model with a batch of 4, for 6 labelled images."""
    means = lambda values: opset.reduce_mean(values, np.array([2, 3]), keep_dims=False)  # noqa: E731
    single = network([1, 3, 8, 8], means)
    batched = network([4, 3, 8, 8], lambda values: reshaped(4, 4)(means(values)))
    images = data(6, 3, 8, 8)
    labels = ModelRunner.compile(single, 1)([images])[0].argmax(axis=1)
    seen: list[int] = []

    def accuracy(outputs: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
        seen.append(len(outputs))
        return float((outputs.argmax(axis=1) == targets).mean())

    report = Report(lambda: zip(images, labels, strict=True), {"top1": accuracy}, 1)
    assert report(batched) == {"top1": 1.0}
    assert seen == [6]


def test_outputs_of_other_numbers_are_not_compared_row_by_row() -> None:
    report = Report(lambda: ((image, 0) for image in data(6, 3, 8, 8)), {}, 1)
    models = [with_nms(boxes) for boxes in (6, 1)]
    for model in models:
        model.reshape([1, 3, 8, 8])
    counts = [len(ModelRunner.compile(model, 1)([data(1, 3, 8, 8)])[0][0]) for model in models]
    assert counts[0] > counts[1]
    assert report(models[0]) == {}
    assert report(models[1]).keys() == {"sqnr_db", "relative_error", "sqnr_db 1"}


def test_the_sequential_pass_shares_inferences_where_layers_get_the_same() -> None:
    """Inside, the batch may be in another dimension than at the outputs."""
    values = opset.parameter([1, 4, 5], np.float32, name="data")
    turned = opset.transpose(values, np.array([1, 0, 2]))
    inner = opset.transpose(opset.relu(opset.matmul(turned, STEP, False, True, name="inner")), np.array([1, 0, 2]))
    model = ov.Model([opset.result(opset.matmul(inner, STEP, False, True, name="last"))], [values], "turned")
    samples = data(8, 4, 5)
    assert find_batch_size(model, samples, 4, 1) == (4, "")
    assert shared_batch_size(find_layers(model, []), samples, 1) == 1
    plain = network([1, 3, 8, 8], same)
    assert shared_batch_size(find_layers(plain, []), data(8, 3, 8, 8), 1) == 2
    assert shared_batch_size(find_layers(plain, []), data(4, 3, 8, 8), 1) == 1


def test_samples_keep_their_own_shape() -> None:
    samples = Samples([data(3, 4, 2, 5), data(3, 6)])
    assert len(samples[1:]) == 2
    tensors = samples[np.array([2, 0])].tensors(0, [(4, 2, 5), (1, 6)])
    np.testing.assert_array_equal(tensors[0], samples.arrays[0][2])
    np.testing.assert_array_equal(tensors[1], samples.arrays[1][2:3])
    with pytest.raises(ValueError, match="samples"):
        Samples([data(3, 2), data(2, 2)])
