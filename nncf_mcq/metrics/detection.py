"""Objects that a detector finds in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nncf_mcq.data.letterbox import Placement

BOX_VALUES = 5
"""Centre x, y, width, height, objectness: what stands before the classes in a detector's output."""

SCORE_THRESHOLD = 0.005
OVERLAP_THRESHOLD = 0.45
"""Of the intersection over the union. Both are what darknet takes when it computes mAP."""

CANDIDATES = 3000
"""Boxes that a suppression looks at: networks that are not trained have as many as they have cells times classes."""

MAXIMUM_DETECTIONS = 100
"""An image; COCO looks at no more."""


@dataclass(frozen=True)
class Detections:
    """Detections in one image, best first.

    Attributes:
        boxes: float64 (detections, 4), corners x, y, x, y in pixels.
        classes: int64 (detections,).
        scores: float64 (detections,), 0 to 1.
    """

    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def find_detections(
    output: npt.NDArray[np.floating],
    *,
    score_threshold: float = SCORE_THRESHOLD,
    overlap_threshold: float = OVERLAP_THRESHOLD,
    limit: int = MAXIMUM_DETECTIONS,
    candidates: int | None = None,
) -> Detections:
    """Reads a detector's output: thresholds, then non-maximum suppression among the boxes of each class.

    A box counts for every class whose score is high enough, as in darknet; the score is the objectness times the
    probability of the class.

    Args:
        output: (boxes, 5 + classes): centre x, y, width and height in pixels, objectness and class probabilities. Boxes
            with a value that is not finite are left out.
        score_threshold: Lowest score.
        overlap_threshold: Largest overlap with a better box of the same class.
        limit: Largest number of detections.
        candidates: As in `suppressed`.

    Returns:
        The detections in input pixels.

    Raises:
        ValueError: The output has another shape.
    """
    if output.ndim != 2 or output.shape[1] <= BOX_VALUES:
        raise ValueError(f"an output of shape {output.shape}, needed: (boxes, {BOX_VALUES} + classes)")
    scores = output[:, BOX_VALUES - 1 : BOX_VALUES].astype(np.float64) * output[:, BOX_VALUES:]
    boxes = to_corners(output[:, : BOX_VALUES - 1])
    return suppressed(
        boxes, scores, score_threshold, overlap_threshold=overlap_threshold, limit=limit, candidates=candidates
    )


def to_corners(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Boxes (N, 4) of centre x, y, width and height -> corners x, y, x, y."""
    centres, halves = boxes[:, :2].astype(np.float64), boxes[:, 2:4].astype(np.float64) / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def suppressed(
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    score_threshold: float,
    *,
    overlap_threshold: float = OVERLAP_THRESHOLD,
    limit: int = MAXIMUM_DETECTIONS,
    candidates: int | None = None,
) -> Detections:
    """Detections left by non-maximum suppression, class by class.

    Args:
        boxes: (N, 4) corners.
        scores: (N, classes), 0 to 1. Boxes with a number that is not finite are left out.
        score_threshold: Scores above it count.
        overlap_threshold: Of the intersection over the union.
        limit: Largest number of detections.
        candidates: The best so many are looked at; None for all.
    """
    is_finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
    rows, classes = np.nonzero((scores > score_threshold) & is_finite[:, None])
    found = scores[rows, classes].astype(np.float64)
    # Nothing suppresses the best.
    candidates = 1 if limit == 1 else candidates
    if candidates is not None and len(found) > candidates:
        best = np.argsort(-found, kind="stable")[:candidates]
        rows, classes, found = rows[best], classes[best], found[best]
    corners = boxes[rows].astype(np.float64)
    if len(found) < 2:
        return Detections(corners, classes.astype(np.int64), found)
    # Only detectors need PyTorch to be evaluated.
    import torch
    from torchvision.ops import batched_nms

    kept = batched_nms(
        torch.from_numpy(corners), torch.from_numpy(found), torch.from_numpy(classes), overlap_threshold
    ).numpy()[:limit]
    return Detections(corners[kept], classes[kept].astype(np.int64), found[kept])


def in_image(detections: Detections, placement: Placement) -> Detections:
    """The detections in pixels of the image as stored."""
    return Detections(placement.to_image(detections.boxes), detections.classes, detections.scores)
