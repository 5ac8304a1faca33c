"""Recognizes the outputs of detectors, and reads detections from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from nncf_mcq.metrics.anchor_rows import find_anchor_rows
from nncf_mcq.metrics.cell_rows import Cells, are_in_cells, find_cells, may_be_in_cells
from nncf_mcq.metrics.detection import (
    BOX_VALUES,
    CANDIDATES,
    MAXIMUM_DETECTIONS,
    Detections,
    find_detections,
    suppressed,
    to_corners,
)
from nncf_mcq.metrics.detector import Detector
from nncf_mcq.metrics.final_rows import CORNERS, FINAL_VALUES, USUALLY, Values, are_corners, find_labelled, find_rows
from nncf_mcq.metrics.yolo_maps import find_maps, read_maps
from nncf_mcq.model.outputs import ModelOutput
from nncf_mcq.model.samples import Arrays

PIXELS: Final = 1.5
"""Boxes of detectors are in pixels: where no value of the first four is above this, they are something else."""


def find_detector(
    outputs: Sequence[ModelOutput], images: Sequence[Arrays], sizes: Sequence[tuple[int, int]] = ()
) -> Detector | None:
    """The detector that a model is, by its graph and the float outputs.

    Known are boxes with an objectness and classes (N, boxes, 5 + classes) as of YOLOv3, v5 and X, the latter also in
    units of the cells of its maps, whose places follow from the size of the image; boxes with classes
    (N, 4 + classes, boxes) as of YOLOv8 and 11, or with both dimensions exchanged; detections after a suppression,
    (N, k, 6), the (1, 1, k, 7) of `DetectionOutput`, or boxes, scores and labels apart; boxes (N, n, 4) and scores
    (N, n, classes) as of SSD and DETR; the maps of YOLOv3; the anchors of MediaPipe's one-class detectors, whose places
    follow from the size of the image.

    Args:
        outputs: What the graph tells of the outputs.
        images: For each image, the array of each output.
        sizes: Height and width of the model's images.
    """
    for number, output in enumerate(outputs):
        values = [found[number] for found in images]
        detector = None if output.is_integer else _single(output, number, values, sizes)
        if detector is not None:
            return detector
    return _maps(images) or _apart(outputs, images) or _anchors(images, sizes)


def _anchors(images: Sequence[Arrays], sizes: Sequence[tuple[int, int]]) -> Detector | None:
    found = find_anchor_rows(images, sizes)
    if found is None:
        return None
    scores = "raw scores" if found.are_logits else "scores"
    family = (
        f"boxes with {found.points} points and {scores} of {len(found.centres)} anchors (as BlazeFace of MediaPipe)"
    )
    return Detector(family, tuple(sorted((found.boxes, found.scores))), found.read, logits=found.raw_scores)


def _maps(images: Sequence[Arrays]) -> Detector | None:
    found = find_maps(images)
    if found is None:
        return None
    numbers, classes = found
    family = f"{len(numbers)} maps with objectness and {_count(classes, 'class')}, read with the anchors of YOLOv3"
    return Detector(
        family, numbers, lambda image, threshold, limit: read_maps(image, numbers, classes, threshold, limit)
    )


def single_form(output: ModelOutput, reference: Values) -> str | None:
    """How boxes and classes lie in an output; see `Detector.form`.

    Args:
        output: What the graph tells of it.
        reference: (N, ...) of the float model.
    """
    if reference.ndim != 3 or not reference.size:
        return None
    _, rows, columns = reference.shape
    classes = _joined_classes(output, rows, columns)
    if classes is not None:
        return classes[0]
    if (
        CORNERS < rows < columns
        and _are_probabilities(reference[:, CORNERS:])
        and reference[:, :CORNERS].max() > PIXELS
    ):
        return "classes"
    if columns > BOX_VALUES and _are_probabilities(reference[..., CORNERS:]):
        boxes = reference[..., :CORNERS]
        return "cells" if are_in_cells(boxes) else "objectness" if boxes.max() > PIXELS else None
    return None


def read_labelled(output: Values, threshold: float, size: tuple[int, int] | None) -> Detections:
    """Detections of a detector's only or first output, in pixels of the input, known by its shape and values alone.

    Args:
        output: (1, boxes, 5 + classes), (1, 4 + classes, boxes), or (1, k, 6) and (1, 1, k, 7) after a suppression.
        threshold: Of the score.
        size: Height and width of the input in pixels, where they are known.

    Raises:
        ValueError: It is none of these.
    """
    if output.ndim == 4 or (output.ndim == 3 and output.shape[2] == FINAL_VALUES):
        detector = find_rows(ModelOutput(""), 0, [output])
        if detector is not None:
            return detector.read((output,), threshold)
    if output.ndim != 3 or output.shape[0] != 1:
        raise ValueError(f"an output of shape {output.shape}, needed: (1, boxes, {BOX_VALUES} + classes)")
    rows, columns = output.shape[1:]
    if CORNERS < rows < columns:
        return _read_classes(output[0].T, rows - CORNERS, threshold, MAXIMUM_DETECTIONS)
    cells = (
        find_cells(rows, size)
        if size is not None and columns > BOX_VALUES and may_be_in_cells(output[0, :, :CORNERS])
        else None
    )
    return find_detections(output[0] if cells is None else _in_pixels(output[0], cells), score_threshold=threshold)


def _joined_classes(output: ModelOutput, rows: int, columns: int) -> tuple[str, int] | None:
    """The form and the number of classes, where the graph joins boxes with the sigmoid of the classes."""
    if len(output.parts) < 2 or output.parts_axis not in (1, 2):
        return None
    (boxes, activation), (classes, kind) = output.parts[:2]
    if boxes != CORNERS or activation != "none" or kind != "sigmoid":
        return None
    values, count = (rows, columns) if output.parts_axis == 1 else (columns, rows)
    is_whole = sum(size for size, _ in output.parts) == values
    return ("classes" if output.parts_axis == 1 else "classes_last", classes) if is_whole and count > 1 else None


def _are_probabilities(values: Values) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _single(
    output: ModelOutput, number: int, images: Sequence[Values], sizes: Sequence[tuple[int, int]]
) -> Detector | None:
    """A detector of one output."""
    final = find_rows(output, number, images)
    if final is not None:
        return final
    shape = images[0].shape
    if any(values.shape != shape for values in images) or len(shape) != 3 or shape[0] != 1:
        return None
    form = single_form(output, np.concatenate(images))
    if form is None:
        return None
    _, rows, columns = shape
    if form == "cells":
        cells = next((cells for size in sizes if (cells := find_cells(rows, size)) is not None), None)
        if cells is None:
            return None
        return Detector(
            f"boxes in cells with objectness and {_count(columns - BOX_VALUES, 'class')}, {rows} boxes (as YOLOX)",
            (number,),
            lambda found, threshold, limit: find_detections(
                _in_pixels(found[number][0], cells), score_threshold=threshold, limit=limit, candidates=CANDIDATES
            ),
            form,
        )
    if form == "objectness":
        return Detector(
            f"boxes with objectness and {_count(columns - BOX_VALUES, 'class')}, {rows} boxes (as YOLOv3, YOLOv5)",
            (number,),
            lambda found, threshold, limit: find_detections(
                found[number][0], score_threshold=threshold, limit=limit, candidates=CANDIDATES
            ),
            form,
        )
    length, boxes = (rows, columns) if form == "classes" else (columns, rows)
    known = _joined_classes(output, rows, columns)
    classes = length - CORNERS if known is None else known[1]
    more = f" and {length - CORNERS - classes} more values" if length > CORNERS + classes else ""
    return Detector(
        f"boxes with {_count(classes, 'class')}{more}, {boxes} boxes (as YOLOv8, YOLO11)",
        (number,),
        lambda found, threshold, limit: _read_classes(
            found[number][0].T if form == "classes" else found[number][0], classes, threshold, limit
        ),
        form,
    )


def _in_pixels(rows: Values, cells: Cells) -> Values:
    """Rows of a detector whose boxes are in units of cells, as they are in pixels."""
    return np.concatenate([cells.in_pixels(rows[:, :CORNERS]), rows[:, CORNERS:]], axis=1)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}es"


def _read_classes(rows: Values, classes: int, threshold: float, limit: int) -> Detections:
    scores = rows[:, CORNERS : CORNERS + classes]
    return suppressed(to_corners(rows), scores, threshold, limit=limit, candidates=CANDIDATES)


def _apart(outputs: Sequence[ModelOutput], images: Sequence[Arrays]) -> Detector | None:
    """A detector whose boxes, scores and, after a suppression, labels are outputs of their own."""
    for number in sorted(range(len(outputs)), key=lambda number: _unlike_boxes(outputs[number], number, images)):
        shape = images[0][number].shape
        if len(shape) not in (2, 3) or shape[-1] not in (CORNERS, BOX_VALUES):
            continue
        labelled = find_labelled(outputs, images, number)
        if labelled is not None:
            return labelled
        if len(shape) == 3 and shape[-1] == CORNERS:
            for other in _beside(outputs, images, number):
                detector = _scored(images, number, other)
                if detector is not None:
                    return detector
    return None


def _unlike_boxes(output: ModelOutput, number: int, images: Sequence[Arrays]) -> tuple[bool, bool]:
    """Least for outputs that are boxes by name, then by their values: the scores of four classes have as many."""
    widths = {found[number].shape[-1] if found[number].ndim > 1 else 0 for found in images}
    is_ordered = widths in ({CORNERS}, {BOX_VALUES}) and are_corners(
        np.concatenate([found[number].reshape(-1, *widths)[:, :CORNERS] for found in images])
    )
    return "box" not in output.name.lower(), not is_ordered


def _beside(outputs: Sequence[ModelOutput], images: Sequence[Arrays], boxes: int) -> Iterator[int]:
    """Outputs of classes for each of the boxes of another one."""
    for number, output in enumerate(outputs):
        fits = all(
            found[number].ndim == 3
            and found[number].shape[:2] == found[boxes].shape[:2]
            and found[number].shape[2] >= 1
            for found in images
        )
        if number != boxes and fits and not output.is_integer:
            yield number


def _scored(images: Sequence[Arrays], boxes: int, scores: int) -> Detector | None:
    """Boxes (1, n, 4) and scores (1, n, classes), of all places."""
    found = np.concatenate([image[boxes][0] for image in images])
    is_corner = are_corners(found)
    # Offsets from anchors have either sign.
    if not is_corner and not (found[:, 2:] >= 0).mean() >= USUALLY:
        return None
    given = np.concatenate([image[scores][0] for image in images]).astype(np.float64)
    are_probabilities = given.min() >= 0 and given.max() <= 1
    with_softmax = not are_probabilities and given.shape[1] > 1
    probabilities = _probabilities(given, are_probabilities)
    nothing: int | None = None
    if probabilities.shape[1] > 1 and (np.abs(probabilities.sum(axis=1) - 1) < 1e-2).all():
        # Nearly all places hold nothing: that class is the first or the last.
        nothing = int(probabilities.mean(axis=0).argmax())
        if nothing not in (0, probabilities.shape[1] - 1):
            return None
    elif with_softmax:
        return None
    classes = probabilities.shape[1] - (nothing is not None)

    def read(image: Arrays, threshold: float, limit: int) -> Detections:
        corners = image[boxes][0] if is_corner else to_corners(image[boxes][0])
        values = _probabilities(image[scores][0].astype(np.float64), are_probabilities)
        if nothing is not None:
            values = np.delete(values, nothing, axis=1)
        return suppressed(corners, values, threshold, limit=limit, candidates=CANDIDATES)

    count = images[0][boxes].shape[1]
    family = f"boxes and scores of {_count(classes, 'class')}, {count} boxes (as SSD, DETR)"
    return Detector(family, (boxes, scores), read)


def _probabilities(values: NDArray[np.float64], are_probabilities: bool) -> NDArray[np.float64]:
    if are_probabilities:
        return values
    found: NDArray[np.float64] = softmax(values, axis=1) if values.shape[1] > 1 else expit(values)
    return found
