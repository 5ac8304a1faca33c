"""What the outputs of a model are, by its graph and the float outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.metrics.metrics import are_probabilities
from nncf_mcq.model.outputs import ModelOutput

ImageSizes: TypeAlias = Sequence[tuple[int, int, int]]
"""Height, width and channels of each input that is an image."""

_IMAGE_CHANNELS: Final = (1, 3, 4)
_COORDINATES: Final = (2, 3)
_MOST_POINTS: Final = 2000
_LARGEST_STRIDE: Final = 8
_SEGMENTATION_STRIDE: Final = 4
_UNIT_TOLERANCE: Final = 2e-3
_FEWEST_POINTS: Final = 5
_BEYOND: Final = 0.25
"""Part of the image that points lie outside of it."""

_AROUND_MIDDLE: Final = 0.3
"""Distance of the mean of points from the middle of the image, as a part of it."""

_FEWEST_PIXELS: Final = 64
"""Side of an image in which places are larger numbers than scores."""

_MOSTLY: Final = 0.95
_SPREAD: Final = 0.02
"""Standard deviation of points, as a part of the image: values of anything else lie closer together."""

_FEWEST_CHARACTERS: Final = 11
_FEWEST_STEPS: Final = 32
_MOST_STEPS: Final = 500
"""Of an image: the boxes of a detector, of which most hold nothing too, are more."""

_LEAST_NOTHING: Final = 0.3
"""Share of the steps of a text in which nothing is read, at least."""

_PEAK_SHARE: Final = 0.03
"""Of a heat map, the share of the pixels above half of its peak stays below this."""


@dataclass(frozen=True)
class RecognizedOutput:
    """Kind of an output.

    Attributes:
        kind: It.
        axis: The dimension of the classes, or of the maps.
        coordinates: Of each point, where points are in a row.
    """

    kind: OutputKind
    axis: int = 1
    coordinates: int | None = None


def image_sizes(model: ov.Model) -> ImageSizes:
    """Height, width and channels of a model's images.

    Args:
        model: The float model.
    """
    found = []
    for port in model.inputs:
        shape = port.get_partial_shape()
        if shape.is_static and len(shape) == 4:
            _, first, second, third = (int(side.get_length()) for side in shape)
            is_last = first not in _IMAGE_CHANNELS and third in _IMAGE_CHANNELS
            found.append((first, second, third) if is_last else (second, third, first))
    return found


def recognize(
    output: ModelOutput, images: Sequence[NDArray[Any]], sizes: ImageSizes, *, is_only_map: bool = True
) -> RecognizedOutput:
    """The kind of an output.

    Args:
        output: What the graph tells of it.
        images: (1, ...) of the float model for each of some images.
        sizes: Of the model's inputs, see `image_sizes`.
        is_only_map: Whether no other output has a value for each place in the image. Maps of several sizes are features
            rather than classes.
    """
    shape = images[0].shape
    if len({values.shape for values in images}) > 1 or not images[0].size:
        return RecognizedOutput("labels" if output.is_integer else "values")
    if output.is_integer:
        is_map = any(shape[-2:] == size[:2] or shape[1:3] == size[:2] for size in sizes)
        return RecognizedOutput("segmentation" if is_map else "labels", axis=0)
    if len(shape) == 2:
        # Independent probabilities do not compete for the largest.
        is_vector = shape[0] == 1 and shape[1] > 1 and output.activation != "sigmoid"
        if not is_vector:
            return RecognizedOutput("values")
        coordinates = _coordinates(np.concatenate(images), sizes, is_row=True)
        if coordinates is not None:
            return RecognizedOutput("landmarks", 1, coordinates)
        return RecognizedOutput("embedding" if are_embeddings(np.concatenate(images)) else "classes")
    if shape[:3] == (1, 1, 1):
        coordinates = _coordinates(np.concatenate(images).reshape(len(images), -1), sizes)
        return RecognizedOutput("values" if coordinates is None else "landmarks", 3, coordinates)
    if len(shape) == 3:
        return _of_rows(output, images)
    return _of_maps(output, images, sizes, is_only_map) if len(shape) == 4 else RecognizedOutput("values")


def alike(
    kinds: Mapping[int, RecognizedOutput], images: Sequence[Sequence[NDArray[Any]]]
) -> dict[int, RecognizedOutput]:
    """The kinds of outputs, where those that look like classes are points if others of their shape are.

    Hand and pose models also give the points in metres, which nothing but their number tells from scores.

    Args:
        kinds: Number of each output to its kind, as `recognize` found them.
        images: For each of some images, the array of each output.
    """
    points = {images[0][number].shape: kind for number, kind in kinds.items() if kind.kind == "landmarks"}
    return {
        number: points.get(images[0][number].shape, kind) if kind.kind == "classes" else kind
        for number, kind in kinds.items()
    }


def given(kind: OutputKind, shape: Sequence[int]) -> RecognizedOutput:
    """The kind that a configuration says.

    Args:
        kind: It.
        shape: Of the output.
    """
    last = kind == "sequence" or (len(shape) == 4 and shape[1] > shape[3])
    return RecognizedOutput(kind, len(shape) - 1 if last else 1)


def are_embeddings(rows: NDArray[Any]) -> bool:
    """Whether each of the rows (N, D) has the length 1, and is no distribution of probabilities.

    Args:
        rows: Outputs of the float model.
    """
    if rows.shape[1] <= 2 or are_probabilities(rows):
        return False
    return bool((np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1) < _UNIT_TOLERANCE).all())


def _of_rows(output: ModelOutput, images: Sequence[NDArray[Any]]) -> RecognizedOutput:
    shape = images[0].shape
    if output.activation == "softmax" and output.axis == 2 and shape[2] > 1:
        return RecognizedOutput("sequence", axis=2)
    if shape[2] in _COORDINATES and 2 < shape[1] <= _MOST_POINTS and output.activation == "none":
        return RecognizedOutput("landmarks", axis=2)
    if output.activation == "none" and _are_steps(np.concatenate(images), len(images)):
        return RecognizedOutput("sequence", axis=2)
    return RecognizedOutput("values")


def _are_steps(logits: NDArray[Any], images: int) -> bool:
    """Whether rows of logits (N, steps, classes), or (N * steps, 1, classes), are read as a text.

    Connectionist temporal classification gives most steps a class of nothing, the first or the last one; of anything
    else the largest is rarely just there.

    Source: Graves et al., "Connectionist Temporal Classification", ICML 2006.
    """
    steps, classes = len(logits) * logits.shape[1], logits.shape[2]
    if classes < _FEWEST_CHARACTERS or not _FEWEST_STEPS <= steps <= images * _MOST_STEPS:
        return False
    counts = np.bincount(logits.argmax(axis=2).reshape(-1), minlength=classes)
    share = counts.max() / counts.sum()
    return bool(counts.argmax() in (0, classes - 1) and _LEAST_NOTHING <= share < 1)


def _coordinates(rows: NDArray[Any], sizes: ImageSizes, *, is_row: bool = False) -> int | None:
    """Coordinates of each point where rows (N, values) are points: most lie in the image, and far apart.

    Args:
        rows: Outputs of the float model.
        sizes: Of the images.
        is_row: Whether these may as well be the scores of classes: then the points have to lie around the middle of the
            image, in pixels, where no scores are.
    """
    for count in (3, 2):
        if rows.shape[1] % count or rows.shape[1] < _FEWEST_POINTS * count:
            continue
        points = rows.reshape(len(rows), -1, count)[..., :2].astype(np.float64)
        # In pixels, or as parts of the image.
        for height, width in [size[:2] for size in sizes] + ([] if is_row else [(1, 1)]):
            places = points / (width, height)
            is_off = (np.abs(places.mean(axis=(0, 1)) - 0.5) > _AROUND_MIDDLE).any()
            if is_row and (is_off or min(height, width) < _FEWEST_PIXELS):
                continue
            are_inside = ((places > -_BEYOND) & (places < 1 + _BEYOND)).mean() >= _MOSTLY
            # In an image without a hand, say, its points may lie on a line.
            spread = places.std(axis=1).mean(axis=0) if is_row else places.std(axis=1)
            if are_inside and spread.min() >= _SPREAD:
                return count
    return None


def _of_maps(
    output: ModelOutput, images: Sequence[NDArray[Any]], sizes: ImageSizes, is_only_map: bool
) -> RecognizedOutput:
    shape = images[0].shape
    place = next((found for size in sizes if (found := _place(shape, size)) is not None), None)
    if place is None:
        return RecognizedOutput("values")
    axis, stride, image_channels = place
    channels = shape[axis]
    if output.activation == "softmax" and output.axis == axis and channels > 1:
        return RecognizedOutput("segmentation", axis)
    if channels == 1:
        return RecognizedOutput("mask" if output.activation == "sigmoid" else "values", axis)
    if is_only_map and _has_peaks(images, axis):
        return RecognizedOutput("heat_maps", axis)
    is_image = stride == 1 and channels == image_channels
    is_segmentation = (stride == 1 or (is_only_map and stride <= _SEGMENTATION_STRIDE)) and not is_image
    return RecognizedOutput("segmentation" if is_segmentation else "values", axis)


def _place(shape: tuple[int, ...], size: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """The dimension of the channels, the stride, and the channels of the image; None for what is no map of it."""
    height, width, channels = size
    for axis, (rows, columns) in ((1, shape[2:4]), (3, shape[1:3])):
        for stride in range(1, _LARGEST_STRIDE + 1):
            if rows > 1 and rows == -(-height // stride) and columns == -(-width // stride):
                return axis, stride, channels
    return None


def _has_peaks(images: Sequence[NDArray[Any]], axis: int) -> bool:
    """Whether each map has a small peak, and is nearly even elsewhere."""
    maps = np.concatenate([np.moveaxis(values, axis, 1) for values in images])
    flat = maps.reshape(maps.shape[0] * maps.shape[1], -1).astype(np.float64)
    high, middle = flat.max(axis=1), np.median(flat, axis=1)
    share = (flat > ((high + middle) / 2)[:, None]).mean(axis=1)
    return bool(((share < _PEAK_SHARE) & (high > middle)).mean() >= 0.9)
