"""Outputs of detectors that have gone through a suppression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.metrics.detection import BOX_VALUES, Detections
from nncf_mcq.metrics.detector import Detector
from nncf_mcq.model.outputs import ModelOutput
from nncf_mcq.model.samples import Arrays

Values: TypeAlias = NDArray[Any]

CORNERS: Final = BOX_VALUES - 1
FINAL_VALUES: Final = 6
_DETECTION_OUTPUT_VALUES: Final = 7
_MOST_ROWS: Final = 2000
"""More of them have not gone through a suppression."""

USUALLY: Final = 0.95


def find_rows(output: ModelOutput, number: int, images: Sequence[Values]) -> Detector | None:
    """The detector whose one output has a row for each box, score and label among its values; None if it is none.

    Args:
        output: What the graph tells of it.
        number: Of the output.
        images: (1, k, 6) or (1, 1, k, 7) for each of some images.
    """
    if output.operation == "DetectionOutput" or all(
        values.ndim == 4 and values.shape[:2] == (1, 1) and values.shape[3] == _DETECTION_OUTPUT_VALUES
        for values in images
    ):
        tables = [values.reshape(-1, _DETECTION_OUTPUT_VALUES) for values in images]
        order = (slice(3, 7), 2, 1)
    elif all(
        values.ndim == 3 and values.shape[2] == FINAL_VALUES and values.shape[1] <= _MOST_ROWS for values in images
    ):
        tables = [values.reshape(-1, FINAL_VALUES) for values in images]
        order = (slice(0, 4), 4, 5)
    else:
        return None
    boxes, score, label = order
    rows = np.concatenate(tables)
    rows = rows[rows[:, score] > 0]
    if not len(rows) or not _are_final(rows[:, boxes], rows[:, score], rows[:, label]):
        return None
    width = tables[0].shape[1]

    def read(found: Arrays, threshold: float, limit: int) -> Detections:
        table = found[number].reshape(-1, width)
        return _best(table[:, boxes], table[:, score], table[:, label], threshold, limit)

    return Detector(f"detections, at most {len(tables[0])} an image", (number,), read)


def _are_final(boxes: Values, scores: Values, labels: Values) -> bool:
    is_whole = (labels == np.round(labels)) & (labels >= 0)
    return bool(scores.min() >= 0 and scores.max() <= 1 and is_whole.all() and are_corners(boxes))


def are_corners(boxes: Values) -> bool:
    """Whether nearly all boxes (N, 4) end behind where they begin, as corners do."""
    if not len(boxes):
        return False
    is_ordered = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    return bool(is_ordered.mean() >= USUALLY and np.abs(boxes).max() > 0)


def _best(boxes: Values, scores: Values, labels: Values, threshold: float, limit: int) -> Detections:
    """Detections of rows that nothing has to be suppressed of any more, best first."""
    is_finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores) & np.isfinite(labels)
    kept = np.flatnonzero(is_finite & (scores > threshold))
    kept = kept[np.argsort(-scores[kept], kind="stable")][:limit]
    return Detections(
        boxes[kept].astype(np.float64), np.round(labels[kept]).astype(np.int64), scores[kept].astype(np.float64)
    )


def find_labelled(outputs: Sequence[ModelOutput], images: Sequence[Arrays], boxes: int) -> Detector | None:
    """The detector with boxes (k, 4), scores (k,) and labels (k,), or boxes with their score (k, 5) and labels.

    Args:
        outputs: What the graph tells of all outputs.
        images: For each of some images, the array of each output.
        boxes: Number of the output of boxes.
    """
    vectors = [
        number
        for number in range(len(outputs))
        if number != boxes
        and all(image[number].size == image[boxes].size // image[boxes].shape[-1] for image in images)
    ]
    rows = np.concatenate([image[boxes].reshape(-1, image[boxes].shape[-1]) for image in images])
    if not len(rows) or not are_corners(rows[:, :CORNERS]):
        return None
    flat = {number: np.concatenate([image[number].reshape(-1) for image in images]) for number in vectors}
    labels = [
        number for number, values in flat.items() if outputs[number].is_integer or (values == np.round(values)).all()
    ]
    has_score = rows.shape[1] == BOX_VALUES
    scores = [
        number
        for number, values in flat.items()
        if number not in labels and not has_score and values.min() >= 0 and values.max() <= 1
    ]
    if not labels or not (has_score or scores):
        return None
    label, score = labels[0], None if has_score else scores[0]

    def read(image: Arrays, threshold: float, limit: int) -> Detections:
        table = image[boxes].reshape(-1, rows.shape[1])
        confidence = table[:, CORNERS] if score is None else image[score].reshape(-1)
        return _best(table[:, :CORNERS], confidence, image[label].reshape(-1), threshold, limit)

    members = (boxes, label) if score is None else (boxes, score, label)
    return Detector("detections: boxes, scores and labels", tuple(sorted(members)), read)
