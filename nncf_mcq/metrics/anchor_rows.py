"""Raw outputs of the one-class detectors of MediaPipe: offsets from anchors that only the shape of the image tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from nncf_mcq.metrics.detection import CANDIDATES, Detections, suppressed, to_corners
from nncf_mcq.model.samples import Arrays

_BOX: Final = 4
_LARGEST_LOGIT: Final = 100.0
_STRIDES: Final = ((8, 16, 16, 16), (16, 32, 32, 32), (8, 16, 32, 32, 32))
"""Of BlazeFace and the palm detector, of BlazeFace for the back camera, and of the pose detector; two anchors each."""


class AnchorRows(NamedTuple):
    """Two outputs that hold boxes and scores of anchors.

    Attributes:
        boxes: Number of the output (1, n, 4 + 2 K): offset of the centre, width and height, and K points, in pixels.
        scores: Number of the output (1, n, 1): logits, or probabilities.
        centres: (n, 2) of the anchors, in pixels.
        points: K.
        are_logits: Whether the scores are logits.
    """

    boxes: int
    scores: int
    centres: NDArray[np.float64]
    points: int
    are_logits: bool

    @property
    def raw_scores(self) -> int | None:
        """Number of the output of scores where those are logits."""
        return self.scores if self.are_logits else None

    def read(self, image: Arrays, threshold: float, limit: int) -> Detections:
        """The detections in an image.

        Args:
            image: All outputs for it.
            threshold: Scores above it count.
            limit: Largest number of them.
        """
        rows = image[self.boxes][0, :, :_BOX].astype(np.float64)
        rows[:, :2] += self.centres
        scores = image[self.scores][0].astype(np.float64)
        if self.are_logits:
            scores = expit(np.clip(scores, -_LARGEST_LOGIT, _LARGEST_LOGIT))
        return suppressed(to_corners(rows), scores, threshold, limit=limit, candidates=CANDIDATES)


def find_anchor_rows(images: Sequence[Arrays], sizes: Sequence[tuple[int, int]]) -> AnchorRows | None:
    """The outputs that hold boxes and scores of the anchors of MediaPipe.

    Args:
        images: For each image, the array of each output.
        sizes: Height and width of the model's images.

    Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019; anchors of one
    size, at the centres of all places of a few strides.
    """
    first = images[0]
    for scores, values in enumerate(first):
        if values.ndim != 3 or values.shape[0] != 1 or values.shape[2] != 1:
            continue
        count = values.shape[1]
        centres = next((found for found in _layouts(sizes) if len(found) == count), None)
        boxes = next((number for number, other in enumerate(first) if _holds_boxes(other.shape, count)), None)
        if centres is None or boxes is None:
            continue
        given = np.concatenate([image[scores][0] for image in images])
        are_logits = bool(given.min() < 0 or given.max() > 1)
        return AnchorRows(boxes, scores, centres, (first[boxes].shape[2] - _BOX) // 2, are_logits)
    return None


def _holds_boxes(shape: tuple[int, ...], count: int) -> bool:
    """Whether an output has a box and points in each of so many rows."""
    return len(shape) == 3 and shape[:2] == (1, count) and shape[2] > _BOX and shape[2] % 2 == 0


def _layouts(sizes: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.float64]]:
    """Centres of the anchors of each known layout, row by row."""
    for height, width in sizes:
        for strides in _STRIDES:
            yield np.concatenate(
                [_centres(height, width, stride, 2 * strides.count(stride)) for stride in dict.fromkeys(strides)]
            )


def _centres(height: int, width: int, stride: int, anchors: int) -> NDArray[np.float64]:
    rows, columns = -(-height // stride), -(-width // stride)
    places: list[Any] = [
        np.arange(count) * (size / count) + size / count / 2 for count, size in ((columns, width), (rows, height))
    ]
    across, down = np.meshgrid(*places)
    return np.repeat(np.stack([across, down], axis=2).reshape(-1, 2), anchors, axis=0)
