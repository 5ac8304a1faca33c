from __future__ import annotations

import sys

import numpy as np
import pytest

from nncf_mcq.data.letterbox import Placement
from nncf_mcq.data.objects import Objects
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.metrics.average_precision import Image, MatchedImages, average_precision
from nncf_mcq.metrics.detection import Detections
from nncf_mcq.metrics.metrics import METRICS

pytest.importorskip("pycocotools")

PLACEMENT = Placement.fit((50, 100), (100, 100))
"""The image lies at 25 to 75 of the rows."""


def objects(*boxes: tuple[float, float, float, float, int], crowd: tuple[int, ...] = ()) -> Objects:
    """Rows of corners x, y, x, y and a class."""
    values = np.array(boxes, dtype=np.float64).reshape(-1, 5)
    is_crowd = np.array([index in crowd for index in range(len(values))], dtype=np.bool_)
    return Objects(values[:, :4], values[:, 4].astype(np.int64), is_crowd, PLACEMENT)


def output(*boxes: tuple[float, float, float, float, int, float], classes: int = 2) -> np.ndarray:
    """A detector's output (1, boxes, 5 + classes) that finds the boxes: corners in the image, class, score."""
    rows = np.zeros((1, 4, 5 + classes), dtype=np.float32)
    for row, (left, top, right, bottom, label, score) in zip(rows[0], boxes, strict=False):
        row[:5] = [(left + right) / 2, (top + bottom) / 2 + 25, right - left, bottom - top, score]
        row[5 + label] = 1.0
    return rows


def measure(outputs: list[np.ndarray], targets: list[Objects]) -> tuple[float, float]:
    stacked = np.concatenate(outputs)
    return METRICS["map50"](stacked, targets), METRICS["map"](stacked, targets)


def test_all_found_exactly_is_one() -> None:
    target = objects((10, 10, 30, 30, 0), (50, 20, 90, 40, 1))
    found = output((10, 10, 30, 30, 0, 0.9), (50, 20, 90, 40, 1, 0.8))
    assert measure([found, found], [target, target]) == pytest.approx((1.0, 1.0))


def test_a_box_of_overlap_three_quarters_counts_at_six_of_ten_thresholds() -> None:
    # 20 x 20 against 20 x 15: from 0.5 to 0.75.
    target = objects((10, 10, 30, 30, 0))
    assert measure([output((10, 10, 30, 25, 0, 0.9))], [target]) == pytest.approx((1.0, 0.6))


def test_half_of_the_objects_found() -> None:
    target = objects((10, 10, 30, 30, 0), (50, 20, 90, 40, 0))
    half, _ = measure([output((10, 10, 30, 30, 0, 0.9))], [target])
    # 51 of the 101 recalls from 0 to 1 are at most 0.5.
    assert half == pytest.approx(51 / 101)


def test_a_better_scored_false_detection_halves_the_precision() -> None:
    target = objects((10, 10, 30, 30, 0))
    found = output((60, 10, 80, 30, 0, 0.9), (10, 10, 30, 30, 0, 0.8))
    assert measure([found], [target])[0] == pytest.approx(0.5)


def test_the_wrong_class_is_wrong_and_classes_have_equal_weight() -> None:
    target = objects((10, 10, 30, 30, 0), (50, 20, 90, 40, 1))
    found = output((10, 10, 30, 30, 0, 0.9), (50, 20, 90, 40, 0, 0.8))
    assert measure([found], [target])[0] == pytest.approx(0.5)


def test_detections_in_a_crowd_do_not_count() -> None:
    target = objects((10, 10, 30, 30, 0), (50, 10, 90, 40, 0), crowd=(1,))
    found = output((55, 15, 70, 30, 0, 0.95), (10, 10, 30, 30, 0, 0.9))
    assert measure([found], [target])[0] == pytest.approx(1.0)


def test_images_without_objects_or_detections() -> None:
    empty, target = objects(), objects((10, 10, 30, 30, 0))
    right, wrong, nothing = output((10, 10, 30, 30, 0, 0.8)), output((10, 10, 30, 30, 0, 0.9)), output()
    assert measure([right, nothing], [target, empty]) == pytest.approx((1.0, 1.0))
    assert measure([right, wrong], [target, empty])[0] == pytest.approx(0.5)
    assert measure([nothing, nothing], [target, empty]) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"^none of the images has an object$"):
        measure([right], [empty])


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    measure([output()], [objects((10, 10, 30, 30, 0))])
    assert capsys.readouterr().out == ""


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(NncfMcqError, match=r"need: pip install nncf-mcq\[detection\]$"):
        measure([output()], [objects((10, 10, 30, 30, 0))])


def test_a_part_of_the_images_has_the_precision_that_it_has_alone() -> None:
    random = np.random.default_rng(0)
    images = []
    for index in range(12):
        corners = random.uniform(0, 40, (4, 2))
        boxes = np.concatenate([corners, corners + random.uniform(5, 30, (4, 2))], axis=1)
        classes = random.integers(0, 3 if index < 10 else 5, 4)
        truth = Objects(boxes[:3], classes[:3], np.array([False, False, index == 4]), PLACEMENT)
        moved = boxes + random.normal(0, 2, boxes.shape)
        images.append(Image(truth, Detections(moved, np.roll(classes, index % 2), random.uniform(0, 1, 4))))
    matched = MatchedImages(images)
    for which in ([0, 3, 4, 9, 11], list(range(6)), [10]):
        alone = average_precision([images[index] for index in which])
        assert matched.precision(which) == alone
        assert 0 < alone.mean < 1 or which == [10]
    assert matched.precision() == average_precision(images)
