from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import pytest

from openvino_eval.accuracy import compare_outputs, evaluate_model, predict
from openvino_eval.errors import EvaluationError
from openvino_eval.samples import ArraySamples, load_samples
from tests.openvino_eval.models import small_network


@pytest.mark.parametrize("batch_size", [None, 1, 4, 21, 64])
def test_outputs_do_not_depend_on_the_batch(
    float_ir: Path, samples: ArraySamples, expected_outputs: np.ndarray, batch_size: int | None
) -> None:
    evaluation = evaluate_model(float_ir, samples, batch_size=batch_size)
    np.testing.assert_allclose(evaluation.outputs, expected_outputs, rtol=1e-4, atol=1e-4)
    assert evaluation.scores == {"top1": pytest.approx(19 / 21)}
    np.testing.assert_array_equal(evaluation.targets, samples.targets)


def test_a_reference_adds_agreement_and_kl(
    float_ir: Path, int8_ir: Path, samples: ArraySamples, expected_outputs: np.ndarray
) -> None:
    same = evaluate_model(float_ir, samples, reference=expected_outputs).scores
    assert same["agreement"] == 1.0
    assert same["kl"] == pytest.approx(0.0, abs=1e-6)
    quantized = evaluate_model(int8_ir, samples, reference=expected_outputs).scores
    assert quantized["kl"] > 1e-6
    shuffled = evaluate_model(float_ir, samples, reference=np.roll(expected_outputs, 1, axis=1)).scores
    assert shuffled["agreement"] == 0.0
    assert shuffled["kl"] > quantized["kl"]


def test_models_of_different_batches_run_side_by_side(samples: ArraySamples, expected_outputs: np.ndarray) -> None:
    models = {"dynamic": small_network(None), "four": small_network(4), "one": small_network(1)}
    found = predict(models, samples)
    for answers in found.outputs.values():
        np.testing.assert_allclose(answers, expected_outputs, rtol=1e-4, atol=1e-4)
    assert models["dynamic"].is_dynamic(), "the caller's model was changed"


def test_targets_of_several_shapes_stay_a_list(float_ir: Path, images: np.ndarray) -> None:
    boxes = [np.zeros((index, 4)) for index in range(3)]
    found = predict({"model": float_ir}, list(zip(images, boxes, strict=False)))
    assert [target.shape for target in found.targets] == [(0, 4), (1, 4), (2, 4)]


def test_wrong_images_are_named(float_ir: Path) -> None:
    samples = ArraySamples(np.zeros((2, 3, 8, 8), np.float32), np.zeros(2))
    with pytest.raises(EvaluationError, match=r"takes samples of shape \[1,3,12,12\], found \[3, 8, 8\]"):
        evaluate_model(float_ir, samples)


def test_a_model_that_cannot_be_batched_is_named() -> None:
    image = ops.parameter([1, 3, 2, 2], np.float32)
    model = ov.Model([ops.reshape(image, ops.constant([1, -1]), False)], [image], "fixed")
    samples = ArraySamples(np.zeros((4, 3, 2, 2), np.float32), np.zeros(4))
    assert evaluate_model(model, samples).outputs.shape == (4, 12)
    with pytest.raises(EvaluationError, match="batch of 2"):
        evaluate_model(model, samples, batch_size=2)


def test_an_unknown_metric_is_named(float_ir: Path, samples: ArraySamples) -> None:
    with pytest.raises(EvaluationError, match=r"metric: found 'top_one', allowed: .*top1"):
        evaluate_model(float_ir, samples, ("top_one",))


def test_outputs_that_are_no_classes_are_named() -> None:
    outputs = np.zeros((3, 4, 5), np.float32)
    with pytest.raises(EvaluationError, match=r"outputs of shape \(3, 4, 5\) cannot be compared"):
        compare_outputs(outputs, outputs)
    with pytest.raises(EvaluationError, match=r"of shape \(3, 4\) but a reference of shape \(2, 4\)"):
        compare_outputs(outputs[:, :, 0], outputs[:2, :, 0])


def test_a_metric_that_does_not_apply_is_named(float_ir: Path, images: np.ndarray) -> None:
    boxes = [(image, np.zeros((index, 4))) for index, image in enumerate(images)]
    with pytest.raises(EvaluationError, match=r"metric top1: cannot score outputs of shape \(21, 10\): ."):
        evaluate_model(float_ir, boxes)


def test_no_samples_is_an_error(float_ir: Path) -> None:
    with pytest.raises(EvaluationError, match="no samples"):
        evaluate_model(float_ir, [])


def test_samples_come_back_from_an_archive(tmp_path: Path, samples: ArraySamples) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, images=samples.images.astype(np.float64), targets=samples.targets)
    loaded = load_samples(path)
    assert loaded.images.dtype == np.float32
    np.testing.assert_array_equal(loaded.images, samples.images)
    np.testing.assert_array_equal(loaded.targets, samples.targets)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((1, 1))}, "missing: \\['targets'\\]"),
        ({"images": np.zeros((1, 1)), "targets": np.zeros(2)}, "1 images but 2 targets"),
        ({"images": np.zeros((1, 1)), "targets": np.array([{}])}, "plain arrays"),
    ],
)
def test_a_bad_archive_is_explained(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    with pytest.raises(EvaluationError, match=message):
        load_samples(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_a_file_that_is_no_archive_is_explained(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match="not a NumPy archive"):
        load_samples(path)


def image_and_index(batch: int) -> ov.Model:
    """The mean of an image in each channel, plus a row of a table that an index chooses."""
    image = ops.parameter([batch, 3, 4, 4], np.float32, name="image")
    index = ops.parameter([batch], np.int32, name="index")
    table = ops.constant(np.arange(15, dtype=np.float32).reshape(5, 3))
    means = ops.reduce_mean(image, ops.constant([2, 3]), False)
    for parameter in (image, index):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    return ov.Model([ops.add(means, ops.gather(table, index, ops.constant(0)))], [image, index], "two inputs")


@pytest.mark.parametrize("form", ["tuples", "dictionaries"])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_models_of_several_inputs(form: str, batch_size: int | None) -> None:
    generator = np.random.default_rng(0)
    images = generator.standard_normal((7, 3, 4, 4)).astype(np.float32)
    indices = generator.integers(0, 5, 7)
    expected = images.mean((2, 3)) + np.arange(15, dtype=np.float32).reshape(5, 3)[indices]
    targets = expected.argmax(1)
    pairs = list(zip(images, indices, strict=True))
    # The order of names is that of each sample.
    named = [
        {"image": image, "index": index} if number % 2 else {"index": index, "image": image}
        for number, (image, index) in enumerate(pairs)
    ]
    inputs: list[Any] = pairs if form == "tuples" else named
    found = evaluate_model(image_and_index(2), list(zip(inputs, targets, strict=True)), batch_size=batch_size)
    np.testing.assert_allclose(found.outputs, expected, rtol=1e-5, atol=1e-5)
    assert found.scores == {"top1": 1.0}


def test_wrong_inputs_are_named() -> None:
    image, index = np.zeros((3, 4, 4), np.float32), np.int64(0)
    with pytest.raises(EvaluationError, match="has 2 inputs, the samples have 1"):
        evaluate_model(image_and_index(1), [(image, 0)])
    with pytest.raises(EvaluationError, match="the samples: found image, other, allowed: the names of the model's"):
        evaluate_model(image_and_index(1), [({"image": image, "other": index}, 0)])
    with pytest.raises(EvaluationError, match=r"takes samples of shape \[1,3,4,4\], found \[3, 5, 5\]"):
        evaluate_model(image_and_index(1), [((np.zeros((3, 5, 5), np.float32), index), 0)])
