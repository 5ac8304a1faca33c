"""Recognizes the maps that a YOLOv3 ends with where nothing after them was exported, and reads detections from them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from nncf_mcq.metrics.detection import BOX_VALUES, CANDIDATES, Detections, suppressed, to_corners
from nncf_mcq.model.samples import Arrays

_ANCHORS_EACH: Final = 3
_ANCHORS: Final[dict[int, tuple[float, ...]]] = {
    2: (81, 82, 135, 169, 344, 319, 23, 27, 37, 58, 81, 82),
    3: (116, 90, 156, 198, 373, 326, 30, 61, 62, 45, 59, 119, 10, 13, 16, 30, 33, 23),
}
"""Width and height of the anchors of COCO by the number of maps, the coarsest first, in pixels of an input of 416."""

_ANCHOR_INPUT: Final = 416.0
_MOST_OBJECTNESS: Final = 0.25
"""Mean over all places: nearly all of them hold nothing, and features are no logits of such a kind."""


def find_maps(images: Sequence[Arrays]) -> tuple[tuple[int, ...], int] | None:
    """The outputs that are YOLOv3's maps, the coarsest first, and their number of classes.

    These are two or three maps (1, 3 * (5 + classes), height, width), or with channels last, each twice as large as the
    one before.

    Args:
        images: For each image, the array of each output of the float model.
    """
    numbers = [number for number, values in enumerate(images[0]) if values.ndim == 4 and values.shape[0] == 1]
    if len(numbers) not in _ANCHORS:
        return None
    for axis in (1, 3):
        maps = {number: np.moveaxis(images[0][number], axis, 1) for number in numbers}
        channels = {values.shape[1] for values in maps.values()}
        ordered = sorted(numbers, key=lambda number: maps[number].shape[2])
        sides = [maps[number].shape[2:] for number in ordered]
        is_doubled = all((2 * low[0], 2 * low[1]) == tuple(high) for low, high in itertools.pairwise(sides))
        length, rest = divmod(min(channels), _ANCHORS_EACH)
        if len(channels) == 1 and is_doubled and not rest and length > BOX_VALUES and _is_rare(images, ordered, length):
            return tuple(ordered), length - BOX_VALUES
    return None


def read_maps(image: Arrays, numbers: Sequence[int], classes: int, threshold: float, limit: int) -> Detections:
    """Detections in units of the input, with the anchors of COCO.

    Args:
        image: The array of each output.
        numbers: Of the maps, the coarsest first.
        classes: Number of classes.
        threshold: Of the score.
        limit: Largest number of detections.
    """
    boxes, scores = [], []
    anchors = np.array(_ANCHORS[len(numbers)]).reshape(len(numbers), _ANCHORS_EACH, 2) / _ANCHOR_INPUT
    for number, sizes in zip(numbers, anchors, strict=True):
        values = _places(image[number], BOX_VALUES + classes).astype(np.float64)
        _, _, height, width = values.shape
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        offsets, limits = np.stack([columns, rows]), np.array([width, height]).reshape(2, 1, 1)
        centres = (expit(values[:, :2]) + offsets) / limits
        # A candidate's overflow is a box of no finite size, which does not count.
        with np.errstate(over="ignore"):
            extents = np.exp(values[:, 2:4]) * sizes[:, :, None, None]
        boxes.append(np.concatenate([centres, extents], axis=1).transpose(0, 2, 3, 1).reshape(-1, 4))
        found = expit(values[:, 4:5]) * expit(values[:, BOX_VALUES:])
        scores.append(found.transpose(0, 2, 3, 1).reshape(-1, classes))
    return suppressed(
        to_corners(np.concatenate(boxes)), np.concatenate(scores), threshold, limit=limit, candidates=CANDIDATES
    )


def _places(values: NDArray[Any], length: int) -> NDArray[Any]:
    """A map as (anchors, 5 + classes, height, width)."""
    channels = _ANCHORS_EACH * length
    first = values[0] if values.shape[1] == channels else np.moveaxis(values[0], 2, 0)
    places: NDArray[Any] = first.reshape(_ANCHORS_EACH, length, *first.shape[1:])
    return places


def _is_rare(images: Sequence[Arrays], numbers: Sequence[int], length: int) -> bool:
    objectness = [_places(image[number], length)[:, 4].reshape(-1) for image in images for number in numbers]
    logits = np.concatenate(objectness)
    return bool(logits.min() < 0 and expit(logits).mean() < _MOST_OBJECTNESS)
