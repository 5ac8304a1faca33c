"""Reports of real models, beside what the models say one image at a time."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.metrics.metrics import SampleMetric, agreement, get_metric, kl_divergence
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.inference import compile_model
from nncf_mcq.policy import Policy
from tests.models import random_images, small_calibrated_model

IMAGES = random_images(23)
TARGETS = np.arange(23) % 5


def samples() -> list[tuple[np.ndarray, int]]:
    return [(image, int(target)) for image, target in zip(IMAGES, TARGETS, strict=True)]


def one_by_one(model: ov.Model) -> np.ndarray:
    compiled = compile_model(model, 1)
    return np.concatenate([np.array(compiled(image[None])[0]) for image in IMAGES])


def models() -> tuple[ov.Model, ov.Model]:
    calibrated, table = small_calibrated_model()
    policy = Policy({layer.name: 2 for layer in calibrated.quantizable.layers}, calibrated.activation_bits)
    return calibrated.quantizable.model, calibrated.build(policy, table)


@pytest.mark.parametrize("chunk_bytes", [1, 2**11, 2**27])
def test_a_report_is_that_of_single_images_whatever_the_chunks(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nncf_mcq.model.runner.CHUNK_BYTES", chunk_bytes)
    # The target weighs each image: an output that went with another's target would show.
    weighed = SampleMetric(lambda output, target: float(output.max()) * target, lambda values: float(np.sum(values)))
    report = Report(samples, {"top1": get_metric("top1"), "weighed": weighed}, threads=2)
    float_model, quantized = models()
    expected, found = one_by_one(float_model), one_by_one(quantized)
    weights = [float(output.max()) * int(target) for output, target in zip(expected, TARGETS, strict=True)]
    top1 = (expected.argmax(axis=1) == TARGETS).mean()
    assert report(float_model) == {"top1": top1, "weighed": float(np.sum(weights))}
    values = report(quantized)
    assert values["agreement"] == agreement(found, expected)
    assert values["kl"] == kl_divergence(found, expected) > 0.0
    assert values["top1"] == (found.argmax(axis=1) == TARGETS).mean()


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 7, 7), (8, 8), (2, 1, 3, 8, 8)])
def test_samples_of_another_size_or_layout_are_refused(shape: tuple[int, ...]) -> None:
    report = Report(lambda: [(np.zeros(shape, dtype=np.float32), 0)], {}, threads=1)
    with pytest.raises(
        QuantizationError, match=r"the test images: found shape .*, allowed: \(3, 8, 8\), which the model"
    ):
        report.check(models()[0])


def test_each_image_may_have_its_own_number_of_outputs() -> None:
    """As detectors do that end in a non-maximum suppression."""
    data = opset.parameter([1, 6], np.float32)
    flat = opset.reshape(data, np.array([6]), special_zero=False)
    kept = opset.transpose(opset.non_zero(opset.greater(flat, np.float32(0)), "i64"), np.array([1, 0]))
    model = ov.Model([opset.result(kept)], [data], "positions")
    rows = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)
    counted = SampleMetric(lambda output, target: len(output) == target, lambda values: float(np.mean(values)))
    report = Report(lambda: [(row, int((row > 0).sum())) for row in rows], {"count": counted}, threads=2)
    assert len({int((row > 0).sum()) for row in rows}) > 1
    assert report(model) == {"count": 1.0}


def test_a_metric_of_other_outputs_is_found_on_one_image() -> None:
    read: list[int] = []

    def some() -> list[tuple[np.ndarray, int]]:
        read.append(1)
        return samples()

    report = Report(some, {"map50": get_metric("map50")}, threads=1)
    with pytest.raises(ConfigError, match="metric: found 'map50', allowed: one for the outputs and labels"):
        report.check(models()[0])
    assert len(read) == 1


def test_no_samples_is_an_error() -> None:
    with pytest.raises(QuantizationError, match="the data set is empty"):
        Report(list, {}, threads=1)(models()[0])
