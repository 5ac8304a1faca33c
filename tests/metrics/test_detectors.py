"""The heads of detectors, each recognized, and read as it is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from nncf_mcq.data.letterbox import Placement
from nncf_mcq.data.objects import Objects
from nncf_mcq.metrics.average_precision import average_precision, summarize
from nncf_mcq.metrics.detectors import find_detector
from nncf_mcq.metrics.quality import Quality
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.outputs import Activation, ModelOutput
from nncf_mcq.model.samples import Arrays

PLACES, CLASSES = 30, 3
CORNERS = np.array([[10.0, 12, 40, 52], [60, 8, 90, 28]])
"""What each image holds: an object of class 2, and one of class 0."""

OBJECTS = Objects(
    CORNERS, np.array([2, 0]), np.zeros(2, dtype=np.bool_), Placement((96, 96), (96, 96), (0, 0), (96, 96))
)


def centred(corners: np.ndarray) -> np.ndarray:
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def places(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners of all places, and the probabilities of the classes there: little but for two."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, 40, (PLACES, 2))
    corners = np.concatenate([low, low + random.uniform(2, 30, (PLACES, 2))], axis=1)
    probabilities = random.uniform(0.001, 0.004, (PLACES, CLASSES))
    corners[[4, 9]] = CORNERS
    probabilities[4, 2], probabilities[9, 0] = 0.9, 0.8
    return corners, probabilities


def in_cells(corners: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Rows of the maps of YOLOX for an image of 96 pixels; the two objects are in cells of 16 pixels."""
    random = np.random.default_rng(len(corners))
    rows = random.uniform(-1, 1, (12 * 12 + 6 * 6 + 3 * 3, 5 + CLASSES))
    rows[:, 4], rows[:, 5:] = 0.99, random.uniform(0.001, 0.004, (len(rows), CLASSES))
    for box, scores in zip(centred(corners), probabilities, strict=True):
        column, row = (int(value) for value in box[:2] // 16)
        place = rows[12 * 12 + row * 6 + column]
        place[:4] = [*(box[:2] / 16 - (column, row)), *np.log(box[2:] / 16)]
        place[5:] = scores
    return rows


def with_nothing(probabilities: np.ndarray, *, first: bool) -> np.ndarray:
    nothing = np.maximum(1 - probabilities.sum(axis=1, keepdims=True), 0.01)
    parts = [nothing, probabilities] if first else [probabilities, nothing]
    joined = np.concatenate(parts, axis=1)
    return joined / joined.sum(axis=1, keepdims=True)


def head(name: str, seed: int) -> Arrays:
    """The outputs for one image."""
    corners, probabilities = places(seed)
    final = np.column_stack([CORNERS, [0.9, 0.8], [2, 0]])
    rows = np.column_stack([[0, 0], [2, 0], [0.9, 0.8], CORNERS / 96])
    found = {
        "objectness": [np.column_stack([centred(corners), np.full(PLACES, 0.99), probabilities])[None]],
        "cells": [in_cells(corners[[4, 9]], probabilities[[4, 9]])[None]],
        "classes": [np.column_stack([centred(corners), probabilities]).T[None]],
        "unit": [np.column_stack([centred(corners) / 96, probabilities]).T[None]],
        "rows": [np.column_stack([centred(corners), probabilities])[None]],
        "with masks": [np.column_stack([centred(corners), probabilities, corners - 40]).T[None], np.ones((1, 4, 9, 9))],
        "end to end": [np.concatenate([final, np.zeros((3, 6))])[None]],
        "detection output": [np.concatenate([rows, -np.eye(7)[:1]])[None, None]],
        "ssd": [with_nothing(probabilities, first=True)[None], corners[None] / 96],
        "detr": [np.log(with_nothing(probabilities, first=False))[None], centred(corners)[None] / 96],
        "sigmoid": [probabilities[None], centred(corners)[None]],
        "labels": [CORNERS, final[:, 4], final[:, 5].astype(np.int64)],
        "scored boxes": [final[:, :5], final[:, 5].astype(np.int64)],
        "batch of one": [CORNERS[None], final[None, :, 4], final[None, :, 5], np.array([[2.0]])],
    }[name]
    return tuple(values if values.dtype == np.int64 else values.astype(np.float32) for values in found)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


JOINED: tuple[tuple[int, Activation], ...] = ((4, "none"), (CLASSES, "sigmoid"))
PARTS = {
    "unit": (JOINED, 1),
    "rows": (JOINED, 2),
    "with masks": ((*JOINED, (4, "none")), 1),
}
HEADS = [
    *("objectness", "cells", "classes", "unit", "rows", "with masks", "end to end", "detection output", "ssd", "detr"),
    *("sigmoid", "labels", "scored boxes", "batch of one"),
]


def described(name: str, outputs: Arrays) -> list[ModelOutput]:
    parts, axis = PARTS.get(name, ((), None))
    return [
        ModelOutput(str(number), is_integer=values.dtype == np.int64, parts=() if number else parts, parts_axis=axis)
        for number, values in enumerate(outputs)
    ]


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_recognized_and_read(name: str) -> None:
    images = [head(name, seed) for seed in range(4)]
    detector = find_detector(described(name, images[0]), images, [(96, 96)])
    assert detector is not None
    found = detector.read(images[1], 0.25)
    assert found.classes.tolist() == [2, 0]
    scale = np.abs(found.boxes).max()
    np.testing.assert_allclose(found.boxes / scale, CORNERS / CORNERS.max(), atol=1e-5)
    assert len(detector.read(images[1], 0.95).scores) == 0


@pytest.mark.parametrize("name", HEADS)
def test_numbers_that_are_none_are_no_boxes(name: str) -> None:
    images = [head(name, seed) for seed in range(2)]
    detector = find_detector(described(name, images[0]), images, [(96, 96)])
    assert detector is not None
    broken = tuple(values if values.dtype == np.int64 else np.full_like(values, np.nan) for values in images[0])
    assert len(detector.read(broken, 0.25).scores) == 0


@pytest.mark.parametrize(
    "outputs",
    [
        # Offsets from anchors: nobody knows where the boxes are.
        [noise(1, 30, 4), softmax(noise(1, 30, 3), 2)],
        [noise(1, 30, 16), logit(np.full((1, 30, 1), 0.4))],
        [noise(1, 30, 9)],
        [noise(1, 10)],
        [expit(noise(1, 20, 2))],
        [noise(1, 3, 8, 8)],
    ],
)
def test_other_outputs_are_no_detector(outputs: list[np.ndarray]) -> None:
    images = [tuple(values.astype(np.float32) for values in outputs)] * 2
    assert find_detector([ModelOutput(str(number)) for number in range(len(outputs))], images) is None


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_of_yolov3_are_read_with_its_anchors(channels_last: bool) -> None:
    """Of an input of 416: an object in the cell of row 5 and column 3, as large as the anchor of 156 by 198."""
    maps = [np.full((1, 3 * (5 + CLASSES), 13 * scale, 13 * scale), -9.0, np.float32) for scale in (1, 2, 4)]
    place = maps[0][0, 8:16, 5, 3]
    place[:4], place[4], place[5 + 1] = 0.0, 9.0, 3.0
    if channels_last:
        maps = [np.moveaxis(values, 1, 3) for values in maps]
    image = (maps[2], maps[0], maps[1])
    detector = find_detector([ModelOutput(name) for name in "abc"], [image])
    assert detector is not None
    assert detector.outputs == (1, 2, 0)
    found = detector.read(image, 0.25)
    assert (found.classes.tolist(), found.scores) == ([1], pytest.approx([expit(9.0) * expit(3.0)]))
    centre, half = np.array([3.5, 5.5]) * 32, np.array([78.0, 99.0])
    np.testing.assert_allclose(found.boxes[0] * 416, [*(centre - half), *(centre + half)])
    # Features of such sizes have values of either sign everywhere.
    features = [np.random.default_rng(0).normal(size=values.shape) for values in maps]
    assert find_detector([ModelOutput(name) for name in "abc"], [tuple(features)]) is None


@pytest.mark.parametrize("name", ["objectness", "cells", "classes", "end to end"])
def test_labelled_boxes_are_scored_with_any_head(name: str) -> None:
    precision = average_precision([summarize(head(name, seed)[0], OBJECTS) for seed in range(3)])
    assert precision.mean == pytest.approx(1.0)


def quality_of(found: Sequence[Arrays], expected: Sequence[Arrays]) -> Quality:
    detector = find_detector(described("classes", expected[0]), expected)
    quality = Quality(RecognizedOutputs(described("classes", expected[0]), detector, {}))
    for outputs, reference in zip(found, expected, strict=True):
        quality.add(outputs, reference)
    return quality


def test_boxes_agree_as_far_as_their_places_and_classes_do() -> None:
    expected = [head("classes", seed) for seed in range(4)]
    assert quality_of(expected, expected).metrics()["box_map"] == pytest.approx(1.0)

    # A fourth of the width to the right: an overlap of 0.6, which is right at an overlap of 0.5, 0.55 and 0.6 of ten.
    moved = [(values.copy(),) for (values,) in expected]
    for (values,) in moved:
        values[:, 0] += values[:, 2] * 0.249
    metrics = quality_of(moved, expected).metrics()
    assert (metrics["box_map50"], metrics["box_map"]) == (pytest.approx(1.0), pytest.approx(0.3))

    # In one image of four, the second object has another class; a box of a low score there is not shown.
    changed = [(values.copy(),) for (values,) in expected]
    changed[2][0][0, 4, 20] = 0.1
    changed[2][0][0, [4, 5], 9] = changed[2][0][0, [5, 4], 9]
    quality = quality_of(changed, expected)
    assert 0.6 < quality.metrics()["box_map50"] < 0.95
    (output,) = quality.outputs(lambda index: f"{index}.png")
    assert output.worst is not None
    assert (output.worst.name, output.worst.metric, output.worst.value) == ("2.png", "box_agreement", 0.5)


def test_a_float_detector_that_finds_nothing_is_said() -> None:
    expected = [head("classes", seed) for seed in range(3)]
    for (values,) in expected:
        values[:, 4:] *= 0.1
    quality = quality_of(expected, expected)
    assert quality.metrics().keys() == {"sqnr_db", "relative_error"}
    assert quality.notes == ("boxes: the float model finds none of a score above 0.25 on these images",)
