"""How close an output comes to the float model's, in the terms of what it is: one class for each kind of output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.data.letterbox import Placement
from nncf_mcq.data.objects import Objects
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.metrics.average_precision import Image, average_precision
from nncf_mcq.metrics.detection import Detections
from nncf_mcq.metrics.detectors import Detector
from nncf_mcq.metrics.metrics import agreements, kl_divergences
from nncf_mcq.metrics.output_kinds import RecognizedOutput
from nncf_mcq.metrics.points import cosines, normalized_distances, peaks
from nncf_mcq.metrics.segmentation import NO_PIXELS, added, intersection_over_union, pixel_counts
from nncf_mcq.model.samples import Arrays

SHOWN_SCORE: Final = 0.25
"""Boxes of the float detector that count as found: above the score at which they are usually shown."""

_LOWEST_SCORE: Final = 0.01
_SAME_BOX: Final = 0.5
_NOWHERE: Final = Placement((1, 1), (1, 1), (0, 0))


class Closeness(ABC):
    """Collects images, and tells how close the outputs were over all of them."""

    image_metric: ClassVar[str]
    """Name of the value of a single image."""

    higher_is_closer: ClassVar[bool] = True

    @abstractmethod
    def add(self, found: Arrays, expected: Arrays) -> float:
        """Adds an image.

        Args:
            found: All outputs (1, ...) of the model.
            expected: Those of the float model.

        Returns:
            The value of this image; NaN where the outputs cannot be compared, e.g. of other shapes.
        """

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The metrics over all images, by name; the most telling first."""

    @property
    def notes(self) -> Sequence[str]:
        """What could not be measured, and why."""
        return ()


class _OfOne(Closeness):
    """Of one output.

    Args:
        number: Of the output.
        output: What it is.
    """

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        self._number, self._axis = number, output.axis

    def add(self, found: Arrays, expected: Arrays) -> float:
        values, wanted = found[self._number], expected[self._number]
        return self._add(values, wanted) if values.shape == wanted.shape and values.size else math.nan

    @abstractmethod
    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        """Adds an image, of which it gets one output (1, ...)."""


class ClassCloseness(_OfOne):
    """Top-1 agreement and KL divergence of a classifier."""

    image_metric = "kl"
    higher_is_closer = False

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._agreements: list[float] = []
        self._divergences: list[float] = []

    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        if not np.isfinite(expected).all():
            return math.nan
        self._agreements += agreements(found, expected).astype(float).tolist()
        self._divergences += kl_divergences(found, expected).tolist()
        return self._divergences[-1]

    def metrics(self) -> dict[str, float]:
        return {"agreement": float(np.mean(self._agreements)), "kl": float(np.mean(self._divergences))}


class PixelCloseness(_OfOne):
    """Share of pixels of the same class, and mean intersection over union with the float model's classes."""

    image_metric = "pixel_agreement"

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._kind = output.kind
        self._counts = NO_PIXELS
        self._equal = self._pixels = 0

    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        classes, wanted = self._classes(found), self._classes(expected)
        self._counts = added(self._counts, pixel_counts(classes, wanted))
        same = classes == wanted
        self._equal, self._pixels = self._equal + int(same.sum()), self._pixels + same.size
        return float(same.mean())

    def _classes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        if self._kind == "mask":
            return (values > 0.5).astype(np.int64)
        if not np.issubdtype(values.dtype, np.floating):
            return np.maximum(values.astype(np.int64), 0)
        classes: NDArray[np.int64] = values.argmax(axis=self._axis)
        return classes

    def metrics(self) -> dict[str, float]:
        return {
            "miou_to_float": intersection_over_union(self._counts),
            "pixel_agreement": self._equal / max(self._pixels, 1),
        }


class PointCloseness(_OfOne):
    """Mean distance of landmarks, or of the peaks of heat maps, relative to the box around the float points."""

    image_metric = "nme_to_float"
    higher_is_closer = False

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._kind = output.kind
        self._distances: list[float] = []

    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        points = [
            peaks(np.moveaxis(values, self._axis, 1)) if self._kind == "heat_maps" else values
            for values in (found, expected)
        ]
        self._distances.append(float(normalized_distances(*points).mean()))
        return self._distances[-1]

    def metrics(self) -> dict[str, float]:
        return {"nme_to_float": float(np.mean(self._distances))}


class EmbeddingCloseness(_OfOne):
    """Cosine of the angle between embeddings."""

    image_metric = "cosine_to_float"

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._cosines: list[float] = []

    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        self._cosines.append(float(cosines(found, expected).mean()))
        return self._cosines[-1]

    def metrics(self) -> dict[str, float]:
        return {"cosine_to_float": float(np.mean(self._cosines))}


class SequenceCloseness(_OfOne):
    """Share of steps of the same class, and of images with the same text: without repeats and the most frequent class.

    The most frequent class of the float model over all images is the blank of connectionist temporal classification.
    """

    image_metric = "step_agreement"

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        self._pairs.append((found.argmax(axis=self._axis).reshape(-1), expected.argmax(axis=self._axis).reshape(-1)))
        return float((self._pairs[-1][0] == self._pairs[-1][1]).mean())

    def metrics(self) -> dict[str, float]:
        blank = int(np.bincount(np.concatenate([wanted for _, wanted in self._pairs])).argmax())
        same = [_text(found, blank) == _text(wanted, blank) for found, wanted in self._pairs]
        steps = np.concatenate([found == wanted for found, wanted in self._pairs])
        return {"text_agreement": float(np.mean(same)), "step_agreement": float(steps.mean())}


class LabelCloseness(_OfOne):
    """Share of equal whole numbers."""

    image_metric = "label_agreement"

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._shares: list[float] = []

    def _add(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        self._shares.append(float((found == expected).mean()))
        return self._shares[-1]

    def metrics(self) -> dict[str, float]:
        return {"label_agreement": float(np.mean(self._shares))}


class BoxCloseness(Closeness):
    """Average precision of a detector whose truth is what the float detector finds, both after a suppression.

    Args:
        detector: How boxes are read.
    """

    image_metric = "box_agreement"

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._images: list[Image] = []
        self._notes: list[str] = []

    def add(self, found: Arrays, expected: Arrays) -> float:
        """Adds an image; its value is the F1 score of the boxes that are shown."""
        truth = self._detector.read(expected, SHOWN_SCORE)
        detections = self._detector.read(found, _LOWEST_SCORE)
        objects = Objects(truth.boxes, truth.classes, np.zeros(len(truth.boxes), dtype=np.bool_), _NOWHERE)
        self._images.append(Image(objects, detections))
        return _shown_agreement(detections, truth)

    def metrics(self) -> dict[str, float]:
        self._notes = []
        if not any(len(image.objects.boxes) for image in self._images):
            self._notes.append(f"boxes: the float model finds none of a score above {SHOWN_SCORE} on these images")
            return {}
        try:
            precision = average_precision(self._images)
        except NncfMcqError as error:
            self._notes.append(f"boxes: their agreement is not measured: {error}")
            return {}
        return {"box_map50": precision.at_half, "box_map": precision.mean}

    @property
    def notes(self) -> Sequence[str]:
        return self._notes


CLOSENESS: Final[dict[str, type[_OfOne]]] = {
    "classes": ClassCloseness,
    "segmentation": PixelCloseness,
    "mask": PixelCloseness,
    "heat_maps": PointCloseness,
    "landmarks": PointCloseness,
    "embedding": EmbeddingCloseness,
    "sequence": SequenceCloseness,
    "labels": LabelCloseness,
}
"""By the kind of an output; values have nothing but their signal-to-noise ratio."""


def _shown_agreement(detections: Detections, truth: Detections) -> float:
    """F1 score of the boxes above `SHOWN_SCORE`: twice the pairs of a class that overlap by half, over all boxes."""
    shown = detections.scores > SHOWN_SCORE
    boxes, classes = detections.boxes[shown], detections.classes[shown]
    total = len(boxes) + len(truth.boxes)
    # Where neither shows a box, there is nothing to agree about.
    if not total:
        return math.nan
    overlaps = _overlaps(boxes, truth.boxes) * (classes[:, None] == truth.classes[None])
    pairs = 0
    for row in overlaps:
        best = int(row.argmax()) if row.size else 0
        if row.size and row[best] >= _SAME_BOX:
            pairs += 1
            overlaps[:, best] = 0.0
    return 2 * pairs / total


def _overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) and (M, 4) of corners -> (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1) for boxes in (first, second)]
    shares: NDArray[np.float64] = common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-12)
    return shares


def _text(classes: NDArray[np.int64], blank: int) -> tuple[int, ...]:
    kept = np.concatenate([[True], classes[1:] != classes[:-1]]) & (classes != blank)
    return tuple(classes[kept].tolist())
