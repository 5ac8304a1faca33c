from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncf_mcq.metrics.detection import find_detections


def output(*boxes: tuple[float, ...]) -> np.ndarray:
    """Rows of centre x, y, width, height, objectness, classes."""
    return np.array(boxes, dtype=np.float32)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    size = np.clip(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0, None)
    union = np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - np.prod(size)
    return float(np.prod(size) / union)


def greedy(raw: np.ndarray, score_threshold: float, overlap_threshold: float) -> set[tuple[int, int]]:
    """The straightforward way: (box, class) pairs that non-maximum suppression keeps."""
    kept: set[tuple[int, int]] = set()
    raw = raw.astype(np.float64)
    corners = np.concatenate([raw[:, :2] - raw[:, 2:4] / 2, raw[:, :2] + raw[:, 2:4] / 2], axis=1)
    for label in range(raw.shape[1] - 5):
        scores = raw[:, 4] * raw[:, 5 + label]
        winners: list[int] = []
        for box in np.argsort(-scores, kind="stable"):
            if scores[box] > score_threshold and all(
                overlap(corners[box], corners[winner]) <= overlap_threshold for winner in winners
            ):
                winners.append(int(box))
        kept |= {(box, label) for box in winners}
    return kept


def test_corners_score_and_class() -> None:
    found = find_detections(output((50, 40, 20, 10, 0.5, 0.0, 0.8)))
    assert found.boxes.tolist() == [[40.0, 35.0, 60.0, 45.0]]
    assert found.classes.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.4])


def test_one_box_counts_for_every_class_and_the_best_comes_first() -> None:
    found = find_detections(output((50, 40, 20, 10, 1.0, 0.3, 0.8), (9, 9, 2, 2, 1.0, 0.9, 0.0)))
    assert found.classes.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.3])


def test_overlapping_boxes_of_one_class_leave_the_best() -> None:
    raw = output((50, 50, 20, 20, 0.9, 1, 0), (52, 50, 20, 20, 0.8, 1, 0), (52, 50, 20, 20, 0.7, 0, 1))
    found = find_detections(raw)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.classes.tolist() == [0, 1]


def test_limit_and_no_detection() -> None:
    raw = output(*((10 * index, 5, 4, 4, 0.5, 1.0) for index in range(20)))
    assert len(find_detections(raw, limit=7).scores) == 7
    nothing = find_detections(output((1, 1, 1, 1, 0.0, 1.0)))
    assert nothing.boxes.shape == (0, 4)


def test_values_that_are_not_finite_are_no_detection() -> None:
    raw = output((1, 1, 1, 1, np.nan, 1.0), (1, 1, np.inf, 1, 1.0, 1.0), (5, 5, 2, 2, 1.0, 1.0))
    assert find_detections(raw).boxes.tolist() == [[4.0, 4.0, 6.0, 6.0]]


def test_an_output_of_a_classifier_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(10,\), needed: \(boxes, 5 \+ classes\)"):
        find_detections(np.zeros(10, dtype=np.float32))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 3))
def test_equals_the_straightforward_way(seed: int, boxes: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.uniform(2, 30, (boxes, 2))
    raw = np.hstack([random.uniform(0, 40, (boxes, 2)), sizes, random.uniform(0, 1, (boxes, 1 + classes))])
    found = find_detections(raw, score_threshold=0.1, overlap_threshold=0.4)
    expected = greedy(raw, 0.1, 0.4)
    scores = sorted(raw[box, 4] * raw[box, 5 + label] for box, label in expected)
    np.testing.assert_allclose(sorted(found.scores), scores)
    assert sorted(found.classes.tolist()) == sorted(label for _, label in expected)
