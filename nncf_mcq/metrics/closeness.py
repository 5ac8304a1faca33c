"""How close an output comes to the float model's, in the terms of what it is: one class for each kind of output."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.data.letterbox import Placement
from nncf_mcq.data.objects import Objects
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.metrics.average_precision import Image, MatchedImages
from nncf_mcq.metrics.detection import Detections
from nncf_mcq.metrics.detector import SHOWN_SCORE, Detector
from nncf_mcq.metrics.metrics import agreements, kl_divergences
from nncf_mcq.metrics.output_kinds import RecognizedOutput
from nncf_mcq.metrics.points import cosines, normalized_distances, peaks
from nncf_mcq.metrics.segmentation import (
    NO_PIXELS,
    PixelCounts,
    added,
    equal_share,
    intersection_over_union,
    pixel_counts,
)
from nncf_mcq.model.samples import Arrays

_LOWEST_SCORE: Final = 0.01
_SAME_BOX: Final = 0.5
_NOWHERE: Final = Placement((1, 1), (1, 1), (0, 0), (1, 1))


class Closeness(ABC):
    """Tells how close outputs are, over some images, from what is needed of each of them."""

    image_metric: ClassVar[str]
    """Name of the value of a single image."""

    metric_names: ClassVar[tuple[str, ...]]
    """Names of the metrics, as far as they can be measured on the images."""

    higher_is_closer: ClassVar[bool] = True

    @abstractmethod
    def summarize(self, found: Arrays, expected: Arrays) -> Any:
        """What is needed of an image; None where its outputs cannot be compared, e.g. are of other shapes.

        Args:
            found: All outputs (1, ...) of the model.
            expected: Those of the float model.
        """

    @abstractmethod
    def value(self, summary: Any) -> float:
        """The value of a single image; NaN where there is nothing to compare."""

    @abstractmethod
    def metrics(self, summaries: Sequence[Any]) -> dict[str, float]:
        """The metrics of some images, by name; the most telling first.

        Args:
            summaries: Of the images, at least one.
        """

    def metrics_of_parts(self, summaries: Sequence[Any]) -> Callable[[NDArray[np.intp]], dict[str, float]]:
        """From indices of images to the metrics of these images alone.

        Args:
            summaries: Of all images.
        """
        return lambda which: self.metrics([summaries[index] for index in which])

    @property
    def notes(self) -> Sequence[str]:
        """What could not be measured, and why; after `metrics`."""
        return ()


class _OfOne(Closeness):
    """Of one output.

    Args:
        number: Of the output.
        output: What it is.
    """

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        self._number, self._axis, self._kind = number, output.axis, output.kind

    def summarize(self, found: Arrays, expected: Arrays) -> Any:
        values, wanted = found[self._number], expected[self._number]
        return self._summarize(values, wanted) if values.shape == wanted.shape and values.size else None

    @abstractmethod
    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> Any:
        """What is needed of an image, of which it gets one output (1, ...)."""


class _MeanOfOne(_OfOne):
    """The mean of one value for each image."""

    def value(self, summary: float) -> float:
        return summary

    def metrics(self, summaries: Sequence[float]) -> dict[str, float]:
        return {self.image_metric: float(np.mean(summaries))}


class ClassCloseness(_OfOne):
    """Top-1 agreement and KL divergence of a classifier."""

    image_metric = "kl"
    metric_names = ("agreement", "kl")
    higher_is_closer = False

    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> tuple[list[bool], list[float]] | None:
        if not np.isfinite(expected).all():
            return None
        return agreements(found, expected).tolist(), kl_divergences(found, expected).tolist()

    def value(self, summary: tuple[list[bool], list[float]]) -> float:
        return summary[1][-1]

    def metrics(self, summaries: Sequence[tuple[list[bool], list[float]]]) -> dict[str, float]:
        agree, divergences = (np.concatenate(values) for values in zip(*summaries, strict=True))
        return {"agreement": float(np.mean(agree)), "kl": float(np.mean(divergences))}


class PixelCloseness(_OfOne):
    """Share of pixels of the same class, and mean intersection over union with the float model's classes."""

    image_metric = "pixel_agreement"
    metric_names = ("miou_to_float", "pixel_agreement")

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._notes: list[str] = []

    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> PixelCounts:
        return pixel_counts(self._classes(found), self._classes(expected))

    def _classes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        if self._kind == "mask":
            return (values > 0.5).astype(np.int64)
        if not np.issubdtype(values.dtype, np.floating):
            return np.maximum(values.astype(np.int64), 0)
        classes: NDArray[np.int64] = values.argmax(axis=self._axis)
        return classes

    def value(self, summary: PixelCounts) -> float:
        return equal_share(summary)

    def metrics(self, summaries: Sequence[PixelCounts]) -> dict[str, float]:
        self._notes = []
        total = functools.reduce(added, summaries, NO_PIXELS)
        if self._kind == "mask" and not total.labelled[1:].any():
            self._notes.append("pixels: the float model finds nothing on these images, its mask is empty: take others")
            return {}
        return {"miou_to_float": intersection_over_union(total), "pixel_agreement": equal_share(total)}

    @property
    def notes(self) -> Sequence[str]:
        return self._notes


class PointCloseness(_MeanOfOne):
    """Mean distance of landmarks, or of the peaks of heat maps, relative to the box around the float points."""

    image_metric = "nme_to_float"
    metric_names = ("nme_to_float",)
    higher_is_closer = False

    def __init__(self, number: int, output: RecognizedOutput) -> None:
        super().__init__(number, output)
        self._coordinates = output.coordinates

    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        return float(normalized_distances(self._points(found), self._points(expected)).mean())

    def _points(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._kind == "heat_maps":
            return peaks(np.moveaxis(values, self._axis, 1))
        return values if self._coordinates is None else values.reshape(len(values), -1, self._coordinates)


class EmbeddingCloseness(_MeanOfOne):
    """Cosine of the angle between embeddings."""

    image_metric = "cosine_to_float"
    metric_names = ("cosine_to_float",)

    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        return float(cosines(found, expected).mean())


class SequenceCloseness(_OfOne):
    """Share of steps of the same class, and of images with the same text: without repeats and the most frequent class.

    The most frequent class of the float model over all images is the blank of connectionist temporal classification.
    """

    image_metric = "step_agreement"
    metric_names = ("text_agreement", "step_agreement")

    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return found.argmax(axis=self._axis).reshape(-1), expected.argmax(axis=self._axis).reshape(-1)

    def value(self, summary: tuple[NDArray[np.int64], NDArray[np.int64]]) -> float:
        return float((summary[0] == summary[1]).mean())

    def metrics(self, summaries: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> dict[str, float]:
        blank = int(np.bincount(np.concatenate([wanted for _, wanted in summaries])).argmax())
        same = [_text(found, blank) == _text(wanted, blank) for found, wanted in summaries]
        steps = np.concatenate([found == wanted for found, wanted in summaries])
        return {"text_agreement": float(np.mean(same)), "step_agreement": float(steps.mean())}


class LabelCloseness(_MeanOfOne):
    """Share of equal whole numbers."""

    image_metric = "label_agreement"
    metric_names = ("label_agreement",)

    def _summarize(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        return float((found == expected).mean())


class BoxCloseness(Closeness):
    """Average precision of a detector whose truth is what the float detector finds, both after a suppression.

    The value of an image is the F1 score of the boxes that are shown.

    Args:
        detector: How boxes are read.
    """

    image_metric = "box_agreement"
    metric_names = ("box_map50", "box_map")

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._notes: list[str] = []

    def summarize(self, found: Arrays, expected: Arrays) -> Image:
        truth = self._detector.read(expected, SHOWN_SCORE)
        objects = Objects(truth.boxes, truth.classes, np.zeros(len(truth.boxes), dtype=np.bool_), _NOWHERE)
        return Image(objects, self._detector.read(found, _LOWEST_SCORE))

    def value(self, summary: Image) -> float:
        return _shown_agreement(summary.detections, summary.objects)

    def metrics(self, summaries: Sequence[Image]) -> dict[str, float]:
        return self.metrics_of_parts(summaries)(np.arange(len(summaries)))

    def metrics_of_parts(self, summaries: Sequence[Image]) -> Callable[[NDArray[np.intp]], dict[str, float]]:
        self._notes = []
        has_boxes = np.array([len(image.objects.boxes) > 0 for image in summaries], dtype=np.bool_)
        if not has_boxes.any():
            self._notes.append(f"boxes: the float model finds none of a score above {SHOWN_SCORE} on these images")
            return lambda which: {}
        try:
            matched = MatchedImages(summaries)
        except NncfMcqError as error:
            self._notes.append(f"boxes: their agreement is not measured: {error}")
            return lambda which: {}

        def metrics(which: NDArray[np.intp]) -> dict[str, float]:
            if not has_boxes[which].any():
                return {}
            precision = matched.precision(which.tolist())
            return {"box_map50": precision.at_half, "box_map": precision.mean}

        return metrics

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


def _shown_agreement(detections: Detections, truth: Objects) -> float:
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
