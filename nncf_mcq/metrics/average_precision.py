"""COCO's average precision of a detector, computed by `pycocotools`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.data.objects import Objects
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.metrics.detection import SCORE_THRESHOLD, Detections, in_image
from nncf_mcq.metrics.detectors import read_labelled
from nncf_mcq.metrics.metrics import Outputs, SampleMetric, register_metric

EXTRA = "nncf-mcq[detection]"
UNDEFINED = -1
"""COCO's value of a class without an object."""


class Image(NamedTuple):
    """Objects in an image and detections there, both in its own pixels."""

    objects: Objects
    detections: Detections


class _Record(TypedDict):
    """An object, which may be a crowd, or a detection, which has a score, as COCO's JSON has them."""

    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: NotRequired[int]
    score: NotRequired[float]


class AveragePrecision(NamedTuple):
    """Means over the classes, 0 to 1.

    Attributes:
        mean: Also over ten overlaps from 0.5 to 0.95, "mAP@[.5:.95]".
        at_half: At an overlap of 0.5, "mAP@0.5".
    """

    mean: float
    at_half: float


def summarize(output: Outputs, target: Objects) -> Image:
    """Summary of one image for the average precision.

    Args:
        output: (1, boxes, 5 + classes), or another form of `read_labelled`.
        target: What is in the image.
    """
    # Outputs of another kind are named before targets of another kind.
    size = target.placement.input_size if isinstance(target, Objects) else None
    detections = read_labelled(output, SCORE_THRESHOLD, size)
    return Image(target, in_image(detections, target.placement))


class MatchedImages:
    """Detections that are matched with the objects of their images, once for the average precision of any part of them.

    Args:
        images: Of which at least one has an object.

    Raises:
        NncfMcqError: `pycocotools` is not installed.
        ValueError: No image has an object.
    """

    def __init__(self, images: Sequence[Image]) -> None:
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        except ModuleNotFoundError as error:
            raise NncfMcqError(
                f"no module {error.name!r}; the metrics map and map50 need: pip install {EXTRA}"
            ) from error
        annotations = [record for index, image in enumerate(images) for record in _annotations(index, image.objects)]
        detections = [record for index, image in enumerate(images) for record in _detections(index, image.detections)]
        if not annotations:
            raise ValueError("none of the images has an object")
        categories = sorted({record["category_id"] for record in annotations + detections})
        truth, found = COCO(), COCO()
        for coco, records in ((truth, annotations), (found, detections)):
            coco.dataset = {
                "images": [{"id": index} for index in range(len(images))],
                "categories": [{"id": category} for category in categories],
                "annotations": [{"id": number, **record} for number, record in enumerate(records, start=1)],
            }
        # It reports its progress on standard output.
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            found.createIndex()
            self._evaluation = COCOeval(truth, found, "bbox")
            # Of the four ranges of areas only that of all is asked for, which takes a fourth of the time.
            parameters = self._evaluation.params
            parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], ["all"]
            parameters.maxDets = parameters.maxDets[-1:]
            self._evaluation.evaluate()
        self._matches = self._evaluation.evalImgs

    def precision(self, which: Collection[int] | None = None) -> AveragePrecision:
        """COCO's average precision over all areas, of at most 100 detections an image.

        Classes that none of the images has are left out, as COCO does.

        Args:
            which: Indices of the images that count; None for all.
        """
        chosen = None if which is None else set(which)
        self._evaluation.evalImgs = [
            match if match is not None and (chosen is None or match["image_id"] in chosen) else None
            for match in self._matches
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            self._evaluation.accumulate()
        # (overlaps, recalls, classes, areas, detections), of which the first overlap is one half.
        precisions = self._evaluation.eval["precision"]
        known = [values[values > UNDEFINED] for values in (precisions, precisions[0])]
        # Where every object is part of a crowd, nothing can be right or wrong.
        return AveragePrecision(*(float(values.mean()) if values.size else 0.0 for values in known))


def average_precision(images: Sequence[Image]) -> AveragePrecision:
    """COCO's average precision, see `MatchedImages.precision`.

    Raises:
        NncfMcqError: `pycocotools` is not installed.
        ValueError: No image has an object.
    """
    return MatchedImages(images).precision()


def _annotations(index: int, objects: Objects) -> list[_Record]:
    return [
        {**_box(index, box, category), "iscrowd": int(crowd)}
        for box, category, crowd in zip(objects.boxes, objects.classes, objects.crowd, strict=True)
    ]


def _detections(index: int, detections: Detections) -> list[_Record]:
    return [
        {**_box(index, box, category), "score": float(score)}
        for box, category, score in zip(detections.boxes, detections.classes, detections.scores, strict=True)
    ]


def _box(index: int, box: NDArray[np.float64], category: np.int64) -> _Record:
    left, top, right, bottom = (float(value) for value in box)
    width, height = right - left, bottom - top
    return {
        "image_id": index,
        "category_id": int(category),
        "bbox": [left, top, width, height],
        "area": width * height,
    }


map50 = register_metric("map50")(SampleMetric(summarize, lambda images: average_precision(images).at_half))
"""mAP@0.5 of outputs (N, boxes, 5 + classes) and N `Objects`."""

mean_average_precision = register_metric("map")(SampleMetric(summarize, lambda images: average_precision(images).mean))
"""mAP@[.5:.95], otherwise as `map50`."""
