"""How close the outputs of a model come to the float model's, in the terms of what they are."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as opset
from scipy.special import softmax

from nncf_mcq.config.quality_report import OutputKind, OutputQuality
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.metrics import METRICS
from nncf_mcq.metrics.output_kinds import RecognizedOutput, alike, recognize
from nncf_mcq.metrics.points import cosines, normalized_distances, peaks
from nncf_mcq.metrics.quality import LARGEST_RATIO, Quality
from nncf_mcq.metrics.recognition import recognize_outputs
from nncf_mcq.metrics.report import Measured, Report
from nncf_mcq.model.outputs import ModelOutput

HEIGHT, WIDTH = 16, 24
SIZES = [(HEIGHT, WIDTH, 3)]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(0, 1, (6, 3, HEIGHT, WIDTH)).astype(np.float32)


def smooth(channels: int, height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] / 10
    phases = np.arange(channels)[:, None, None]
    return np.sin(rows + phases)[None] + np.cos(columns * (1 + phases))[None]


def with_peaks(channels: int, height: int, width: int) -> np.ndarray:
    maps = np.zeros((1, channels, height, width))
    for channel in range(channels):
        maps[0, channel, (3 * channel) % height, (5 * channel) % width] = 1.0
    return maps


def unit(rows: int, size: int) -> np.ndarray:
    values = np.random.default_rng(1).normal(size=(rows, size))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("low", "high", "side", "kind"),
    [
        (0.1, 0.9, 224, "landmarks"),
        # Scores are far below the middle of the image, and in a small one nothing tells them apart.
        (-0.05, 0.1, 224, "classes"),
        (0.1, 0.9, 28, "classes"),
    ],
)
def test_points_in_a_row_lie_around_the_middle_of_the_image(low: float, high: float, side: int, kind: str) -> None:
    images = [RANDOM.uniform(low * side, high * side, (1, 63)) for _ in range(4)]
    assert recognize(ModelOutput("y"), images, [(side, side, 3)]).kind == kind


def test_outputs_of_the_shape_of_landmarks_are_landmarks() -> None:
    """The same points in metres, as hand models give them."""
    shapes = [(1, 63), (1, 63), (1, 9)]
    images = [[np.zeros(shape) for shape in shapes]]
    kinds = {0: RecognizedOutput("landmarks", 1, 3), 1: RecognizedOutput("classes"), 2: RecognizedOutput("classes")}
    assert [kind.kind for kind in alike(kinds, images).values()] == ["landmarks", "landmarks", "classes"]


def mostly_first(*shape: int) -> np.ndarray:
    """Logits of which the first is the largest in most rows."""
    values = RANDOM.normal(size=shape)
    values[..., 0] += 3
    return values


@pytest.mark.parametrize(
    ("output", "values", "kind"),
    [
        (ModelOutput("y"), RANDOM.normal(size=(1, 9)), "classes"),
        (ModelOutput("y", "softmax", 1), softmax(RANDOM.normal(size=(1, 9)), axis=1), "classes"),
        (ModelOutput("y", "sigmoid"), RANDOM.uniform(size=(1, 9)), "values"),
        (ModelOutput("y"), unit(1, 9), "embedding"),
        (ModelOutput("y"), RANDOM.normal(size=(1, 1)), "values"),
        (ModelOutput("y"), smooth(5, HEIGHT, WIDTH), "segmentation"),
        (ModelOutput("y"), smooth(5, HEIGHT // 4, WIDTH // 4), "segmentation"),
        (ModelOutput("y"), smooth(5, HEIGHT // 8, WIDTH // 8), "values"),
        (ModelOutput("y"), smooth(5, HEIGHT, WIDTH).transpose(0, 2, 3, 1), "segmentation"),
        (ModelOutput("y"), smooth(3, HEIGHT, WIDTH), "values"),
        (ModelOutput("y", "sigmoid"), smooth(1, HEIGHT, WIDTH), "mask"),
        (ModelOutput("y"), smooth(1, HEIGHT, WIDTH), "values"),
        (ModelOutput("y", "softmax", 1), softmax(smooth(3, HEIGHT, WIDTH), axis=1), "segmentation"),
        (ModelOutput("y"), with_peaks(7, HEIGHT, WIDTH), "heat_maps"),
        (ModelOutput("y"), with_peaks(7, HEIGHT // 2, WIDTH // 2), "heat_maps"),
        (ModelOutput("y", is_integer=True), np.zeros((1, HEIGHT, WIDTH), np.int64), "segmentation"),
        (ModelOutput("y", is_integer=True), np.zeros((1, 5), np.int64), "labels"),
        (ModelOutput("y", "softmax", 2), softmax(RANDOM.normal(size=(1, 12, 30)), axis=2), "sequence"),
        (ModelOutput("y"), RANDOM.uniform(0, 9, (1, 21, 3)), "landmarks"),
        (ModelOutput("y"), RANDOM.normal(size=(1, 12, 30)), "values"),
        (ModelOutput("y"), mostly_first(1, 400, 20), "sequence"),
        (ModelOutput("y"), mostly_first(400, 1, 20), "sequence"),
        # As many are the boxes of a detector, of which most hold nothing.
        (ModelOutput("y"), mostly_first(1, 600, 20), "values"),
        (ModelOutput("y"), mostly_first(1, 400, 8), "values"),
    ],
)
def test_an_output_is_recognized(output: ModelOutput, values: np.ndarray, kind: str) -> None:
    assert recognize(output, [values], SIZES).kind == kind


def test_maps_of_several_sizes_are_features() -> None:
    assert recognize(ModelOutput("y"), [with_peaks(7, 4, 6)], SIZES, is_only_map=False).kind == "values"


def model_of(end: object = None, channels: int = 4) -> ov.Model:
    """A convolution of the image, and what comes after it; each is named after its seed."""
    data = opset.parameter([1, 3, HEIGHT, WIDTH], np.float32, name="data")
    kernel = np.random.default_rng(3).normal(size=(channels, 3, 1, 1)).astype(np.float32)
    values = opset.convolution(data, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    result = opset.result(values if end is None else end(values))  # type: ignore[operator]
    model = ov.Model([result], [data], "model")
    model.output(0).get_tensor().set_names({"y"})
    return model


def with_noise(model: ov.Model, scale: float) -> ov.Model:
    """The same with other weights."""
    copy = model.clone()
    for operation in copy.get_ops():
        if operation.get_type_name() == "Convolution":
            weights = operation.input_value(1).get_node().get_data()
            noisy = weights + scale * np.random.default_rng(4).normal(size=weights.shape).astype(np.float32)
            operation.input(1).replace_source_output(opset.constant(noisy.astype(np.float32)).output(0))
    return copy


def measured(model: ov.Model, other: ov.Model, **kinds: OutputKind) -> tuple[Measured, OutputQuality]:
    names = [f"{index}.png" for index in range(len(IMAGES))]
    report = Report(lambda: [(image, -1) for image in IMAGES], {}, 1, kinds=kinds, name_of=names.__getitem__)
    assert report(model) == {}
    found = report.measure(other)
    assert found.quality is not None
    assert (found.quality.images, found.quality.count) == ("test", len(IMAGES))
    (output,) = found.quality.outputs
    assert output.name == "y"
    return found, output


def test_a_segmentation_is_told_in_pixels() -> None:
    model = model_of()
    other = with_noise(model, 0.3)
    found, output = measured(model, other)
    core = ov.Core()
    expected, classes = (
        np.concatenate([core.compile_model(each, "CPU")(image[None])[0].argmax(axis=1) for image in IMAGES])
        for each in (model, other)
    )
    same = expected == classes
    shares = [
        (same & (expected == label)).sum() / ((expected == label) | (classes == label)).sum()
        for label in np.union1d(expected, classes)
    ]
    assert found.metrics["pixel_agreement"] == pytest.approx(same.mean())
    assert found.metrics["miou_to_float"] == pytest.approx(np.mean(shares))
    assert 0 < found.metrics["pixel_agreement"] < 1
    assert output.worst is not None
    worst = int(same.mean(axis=(1, 2)).argmin())
    assert (output.worst.index, output.worst.name) == (worst, f"{worst}.png")
    assert output.worst.value == pytest.approx(same[worst].mean())


def test_a_model_is_as_close_to_itself_as_can_be() -> None:
    found, output = measured(model_of(), model_of())
    assert found.metrics == {
        "miou_to_float": 1.0,
        "pixel_agreement": 1.0,
        "sqnr_db": LARGEST_RATIO,
        "relative_error": pytest.approx(0.0, abs=1e-9),
    }
    assert output.kind == "segmentation"


def test_of_empty_masks_nothing_is_told_but_why() -> None:
    """A text detector on photographs without text: its mask is right wherever nothing is."""

    def mask(values: ov.Node) -> ov.Node:
        return opset.sigmoid(opset.subtract(opset.multiply(values, np.float32(0.1)), np.float32(5)))

    model = model_of(mask, 1)
    report = Report(lambda: [(image, -1) for image in IMAGES], {}, 1)
    report(model)
    found = report.measure(with_noise(model, 0.1))
    assert found.metrics.keys() == {"sqnr_db", "relative_error"}
    assert found.quality is not None
    (note,) = found.quality.notes
    assert note == "pixels: the float model finds nothing on these images, its mask is empty: take others"


def test_an_embedding_is_told_in_cosines_and_not_in_classes() -> None:
    def embedding(values: ov.Node) -> ov.Node:
        pooled = opset.reduce_mean(values, np.array([2, 3]), keep_dims=False)
        return opset.normalize_l2(pooled, np.array([1]), 1e-12, "add")

    model = model_of(embedding, 16)
    found, output = measured(model, with_noise(model, 0.3))
    assert found.metrics.keys() == {"cosine_to_float", "sqnr_db", "relative_error"}
    assert 0.5 < found.metrics["cosine_to_float"] < 1
    assert output.kind == "embedding"
    # Both have length 1: the squared distance is twice what the cosine lacks.
    assert found.metrics["relative_error"] ** 2 == pytest.approx(2 * (1 - found.metrics["cosine_to_float"]), rel=1e-3)


def test_a_configuration_says_what_an_output_is() -> None:
    def coordinates(values: ov.Node) -> ov.Node:
        return opset.reduce_mean(values, np.array([2, 3]), keep_dims=False)

    model = model_of(coordinates, 10)
    other = with_noise(model, 0.1)
    assert measured(model, other)[0].metrics.keys() == {"agreement", "kl"}
    found, output = measured(model, other, y="landmarks")
    assert found.metrics.keys() == {"nme_to_float", "sqnr_db", "relative_error"}
    assert output.kind == "landmarks"
    report = Report(lambda: [(image, -1) for image in IMAGES], {}, 1, kinds={"z": "landmarks"})
    with pytest.raises(ConfigError, match="outputs: found 'z', allowed: an output of the model: y"):
        report.check(model)
    misfit = Report(lambda: [(image, -1) for image in IMAGES], {}, 1, kinds={"y": "heat_maps"})
    with pytest.raises(ConfigError, match="kinds that fit the outputs"):
        misfit.check(model)


def test_outputs_that_are_no_numbers_are_as_far_away_as_can_be() -> None:
    model = model_of(channels=3)
    recognized = recognize_outputs(model, [(np.ones((1, 3, HEIGHT, WIDTH), np.float32),)])
    quality = Quality(recognized)
    quality.add((np.full((1, 3, HEIGHT, WIDTH), np.nan, np.float32),), (np.ones((1, 3, HEIGHT, WIDTH), np.float32),))
    assert quality.metrics()["sqnr_db"] == -LARGEST_RATIO
    (output,) = quality.outputs()
    assert output.worst is not None
    assert output.worst.value == -LARGEST_RATIO


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-50, 50))
def test_distances_of_points_do_not_depend_on_size_and_place(seed: int, scale: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    points, reference = random.normal(size=(2, 3, 5, 2))
    found = normalized_distances(points, reference)
    moved = normalized_distances(scale * points + shift, scale * reference + shift)
    np.testing.assert_allclose(moved, found, rtol=1e-6)
    np.testing.assert_allclose(normalized_distances(points.reshape(3, 10), reference.reshape(3, 10)), found)


def test_peaks_are_where_the_largest_values_are() -> None:
    assert peaks(with_peaks(4, 8, 12))[0].tolist() == [[0, 0], [5, 3], [10, 6], [3, 1]]


def test_cosines_of_vectors_without_a_direction_are_zero() -> None:
    values = np.array([[1.0, 0], [0, 0], [np.nan, 1], [-2, 0]])
    assert cosines(values, np.array([[3.0, 0], [1, 1], [1, 1], [1, 0]])).tolist() == [1, 0, 0, -1]


def test_labelled_metrics_of_points_pixels_and_embeddings() -> None:
    box = np.array([[[0.0, 0], [10, 0], [0, 10], [10, 10]]])
    near = box + np.array([0.3, 0.4])
    assert METRICS["nme"](near, box) == pytest.approx(-0.05)
    assert METRICS["pck"](np.where(np.arange(4)[None, :, None] < 1, box + 3, box), box) == 0.75
    assert METRICS["cosine"](np.array([[1.0, 1]]), np.array([[2.0, 0]])) == pytest.approx(np.sqrt(0.5))
    logits = np.zeros((1, 3, 2, 2))
    logits[0, 1, 0] = 1.0
    # Found: the first row. Labelled: the first column, but for a pixel that does not count.
    labels = np.array([[[1, 0], [255, 0]]])
    assert METRICS["miou"](logits, labels) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert METRICS["miou"](logits.transpose(0, 2, 3, 1), labels) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="a whole number for each pixel"):
        METRICS["miou"](logits, labels[:, :1])
