"""Distances of a candidate's outputs from the float outputs, by name: what a search minimizes. No labels are needed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from nncf_mcq.metrics.cell_rows import in_cells
from nncf_mcq.metrics.detection import BOX_VALUES
from nncf_mcq.metrics.jackknife import jackknife
from nncf_mcq.metrics.metrics import are_probabilities, kl_divergences, to_logits
from nncf_mcq.utils.named_functions import NamedFunctions

Score = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""From one output (N, ...) and the float model's of the same shape to a distance; lower is better."""

SCORES: NamedFunctions[Score] = NamedFunctions("score")
"""The registered scores by the name that the configuration uses."""

_LEAST_PROBABILITY = 1e-7

TEMPERATURE: Final = 4.0
"""Of the softened divergence."""

register_score = SCORES.register
get_score = SCORES.find


class ImageScore:
    """A distance that is the mean of one value for each image, so that its error can be told.

    Args:
        values: From one output (N, ...) and the float model's to the values (N,).
    """

    def __init__(self, values: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]) -> None:
        self.values = values
        functools.update_wrapper(self, values)

    def __call__(self, outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
        """The mean over the images."""
        return float(self.values(outputs, reference).mean())


def image_values(score: Score, outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """One value for each image, of which a score is the mean.

    Of a score that is no mean over images, e.g. one of the caller's own, these are those of the `jackknife`.

    Args:
        score: The distance.
        outputs: (N, ...) of one output.
        reference: The float model's.

    Returns:
        (N,).
    """
    if isinstance(score, ImageScore):
        return score.values(outputs, reference)
    return jackknife(
        lambda images: score(outputs[images], reference[images]), score(outputs, reference), len(reference)
    ).values


register_score("kl")(ImageScore(kl_divergences))


@register_score("softened_kl")
@ImageScore
def softened_kl(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL divergence of the classes at a temperature of 4, times its square, in nats.

    The plain divergence is made of a few images of which the float network is not sure: on 128 images, the standard
    error of the difference of two good policies is 5 % of their score, several times what they differ by. Softened, it
    approaches the squared error of the logits, to which every image contributes, and the error is 1 %; it puts
    policies in an order that holds as well on other images.

    Args:
        outputs: (N, classes): logits, or the probabilities that a network with a softmax at its end yields.
        reference: The float model's.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015: gradients at temperature T
    are those of the squared logits, over T squared.
    """
    if are_probabilities(reference):
        outputs, reference = to_logits(outputs), to_logits(reference)
    return kl_divergences(outputs / TEMPERATURE, reference / TEMPERATURE) * TEMPERATURE**2


@register_score("distribution_divergence")
@ImageScore
def distribution_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL divergence of distributions over the second dimension, averaged over all others, in nats.

    Args:
        outputs: (N, classes, ...): probabilities.
        reference: The float model's.
    """
    divergences = kl_divergences(_rows(to_logits(outputs)), _rows(to_logits(reference)))
    return _means(divergences.reshape(len(outputs), -1))


@register_score("class_divergence")
@ImageScore
def class_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL divergence of distributions over the last dimension, averaged over all others, in nats.

    Args:
        outputs: (N, ..., classes): probabilities or logits, as of the boxes of an SSD, of the steps of text
            recognition, or of pixels with channels last.
        reference: The float model's.
    """
    rows = [values.reshape(-1, values.shape[-1]) for values in (outputs, reference)]
    if are_probabilities(rows[1]):
        rows = [to_logits(values) for values in rows]
    return _means(kl_divergences(*rows).reshape(len(outputs), -1))


@register_score("map_divergence")
@ImageScore
def map_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL divergence of the classes of each pixel, averaged over the pixels, in nats.

    Args:
        outputs: (N, classes, ...): logits, as of a segmentation.
        reference: The float model's.
    """
    return _means(kl_divergences(_rows(outputs), _rows(reference)).reshape(len(outputs), -1))


@register_score("bernoulli_divergence")
@ImageScore
def bernoulli_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL divergence of independent probabilities of yes, summed over the second dimension and averaged over all others.

    Args:
        outputs: (N, ...): probabilities, as a sigmoid yields them.
        reference: The float model's.

    Returns:
        (N,) in nats; infinite where an output is not a number.
    """
    divergence = _bernoulli_divergence(outputs, reference)
    divergence = np.where(np.isnan(outputs), np.inf, divergence)
    return _means(divergence.sum(axis=1) if divergence.ndim > 1 else divergence)


@register_score("logit_divergence")
@ImageScore
def logit_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """`bernoulli_divergence` of raw scores: of the probabilities that a sigmoid makes of them.

    The squared error would be one of places that hold nothing, whose scores are far below zero.

    Args:
        outputs: (N, ...): logits.
        reference: The float model's.
    """
    return image_values(bernoulli_divergence, expit(outputs), expit(reference))


@register_score("disagreement")
@ImageScore
def disagreement(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of values, 0 to 1, that differ: for outputs of whole numbers, e.g. classes."""
    if not outputs.size:
        return np.zeros(len(outputs))
    return _means((outputs != reference).astype(np.float64))


@register_score("squared_error")
@ImageScore
def squared_error(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of the squared differences relative to that of the squared float outputs of an average image."""
    difference = _sums(np.square(outputs.astype(np.float64) - reference))
    return difference / max(float(_sums(np.square(reference.astype(np.float64))).mean()), 1e-20)


@register_score("detection_divergence")
@ImageScore
def detection_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far a detector's answers are from those of the float detector, weighed by what counts for its precision.

    Most of a detector's boxes hold nothing, and where they lie does not matter. For each box this is the KL divergence
    of its objectness, and, weighed by the float objectness, those of its classes and the share of its area that
    the two boxes do not have in common (one minus their overlap). Summed over the boxes.

    Args:
        outputs: (N, boxes, 5 + classes): centre x, y, width and height, then the probability of an object, and of each
            class given one.
        reference: The float model's.

    Returns:
        (N,) at least 0; infinite where an output is not a number.

    Raises:
        ValueError: The outputs are not those of a detector.
    """
    return _object_divergence(outputs, reference, lambda boxes: boxes)


@register_score("cell_divergence")
@ImageScore
def cell_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """`detection_divergence` of boxes as YOLOX's network gives them: a place in a cell and the logarithms of the sides.

    Where the cell lies, and how large it is, changes no overlap of two boxes of it.

    Args:
        outputs: (N, boxes, 5 + classes): x, y and the logarithms of width and height in units of the cell, then the
            probability of an object, and of each class given one.
        reference: The float model's.

    Raises:
        ValueError: The outputs are not those of a detector.
    """
    return _object_divergence(outputs, reference, in_cells)


@register_score("box_class_divergence")
@ImageScore
def box_class_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of the outputs of detectors without an objectness.

    For each box it is the KL divergence of its classes and, weighed by its largest float class probability, the share
    of its area that the two boxes do not have in common. Summed over the boxes.

    Args:
        outputs: (N, 4 + classes, boxes): centre x, y, width and height, then the probability of each class, as YOLOv8
            and its successors yield them.
        reference: The float model's.

    Returns:
        (N,) at least 0; infinite where an output is not a number.

    Raises:
        ValueError: The outputs are not those of such a detector.
    """
    if reference.ndim != 3 or reference.shape[1] <= BOX_VALUES - 1 or outputs.shape != reference.shape:
        raise ValueError(
            f"outputs of shape {outputs.shape} and a reference of shape {reference.shape}, needed: both "
            f"(N, {BOX_VALUES - 1} + classes, boxes)"
        )
    values = np.empty(len(reference))
    pairs = zip(outputs.transpose(0, 2, 1), reference.transpose(0, 2, 1), strict=True)
    for index, (found, expected) in enumerate(pairs):
        confidence = expected[:, BOX_VALUES - 1 :].max(axis=1).astype(np.float64)
        classes = _bernoulli_divergence(found[:, BOX_VALUES - 1 :], expected[:, BOX_VALUES - 1 :]).sum(axis=1)
        apart = 1.0 - _overlap(found[:, : BOX_VALUES - 1], expected[:, : BOX_VALUES - 1])
        values[index] = (classes + confidence * apart).sum()
    return _infinite_where_nan(values, outputs)


@register_score("box_row_divergence")
@ImageScore
def box_row_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """`box_class_divergence` of boxes in rows.

    Args:
        outputs: (N, boxes, 4 + classes).
        reference: The float model's.

    Raises:
        ValueError: The outputs are not those of such a detector.
    """
    if reference.ndim != 3 or outputs.ndim != 3:
        raise ValueError(f"outputs of shape {outputs.shape}, needed: (N, boxes, {BOX_VALUES - 1} + classes)")
    return image_values(box_class_divergence, outputs.transpose(0, 2, 1), reference.transpose(0, 2, 1))


def _object_divergence(
    outputs: NDArray[np.float32],
    reference: NDArray[np.float32],
    read_boxes: Callable[[NDArray[Any]], NDArray[Any]],
) -> NDArray[np.float64]:
    """(N,) of boxes with an objectness and classes, of which the first four values are read as centre and sides."""
    if reference.ndim != 3 or reference.shape[2] <= BOX_VALUES or outputs.shape != reference.shape:
        raise ValueError(
            f"outputs of shape {outputs.shape} and a reference of shape {reference.shape}, needed: both (N, boxes, "
            f"{BOX_VALUES} + classes)"
        )
    values = np.empty(len(reference))
    # Image by image: in float64, all of them at once would take several times the memory of the outputs.
    for index, (found, expected) in enumerate(zip(outputs, reference, strict=True)):
        objectness = expected[:, BOX_VALUES - 1].astype(np.float64)
        classes = _bernoulli_divergence(found[:, BOX_VALUES:], expected[:, BOX_VALUES:]).sum(axis=1)
        apart = 1.0 - _overlap(*(read_boxes(rows[:, : BOX_VALUES - 1]) for rows in (found, expected)))
        values[index] = (
            _bernoulli_divergence(found[:, BOX_VALUES - 1], objectness) + objectness * (classes + apart)
        ).sum()
    return _infinite_where_nan(values, outputs)


def _bernoulli_divergence(found: NDArray[np.floating], expected: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(expected || found) of probabilities of yes, in nats."""
    limits = (_LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    yes, wanted = (np.clip(values.astype(np.float64), *limits) for values in (found, expected))
    divergence: NDArray[np.float64] = wanted * np.log(wanted / yes) + (1 - wanted) * np.log((1 - wanted) / (1 - yes))
    return divergence


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, ...) -> (N,)."""
    means: NDArray[np.float64] = values.reshape(len(values), -1).mean(axis=1)
    return means


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, ...) -> (N,)."""
    sums: NDArray[np.float64] = values.reshape(len(values), -1).sum(axis=1)
    return sums


def _infinite_where_nan(values: NDArray[np.float64], outputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values (N,) of outputs (N, ...), infinite for the images of which an output is not a number."""
    is_nan = np.isnan(outputs).reshape(len(outputs), -1).any(axis=1)
    return np.where(is_nan, np.inf, values)


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """(N, classes, ...) -> (N * ..., classes)."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def _overlap(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) of centre x, y, width, height, pair by pair."""
    low, high = (
        [boxes[:, :2].astype(np.float64) + sign * boxes[:, 2:].astype(np.float64) / 2 for boxes in (first, second)]
        for sign in (-1, 1)
    )
    common = np.clip(np.minimum(*high) - np.maximum(*low), 0.0, None).prod(axis=1)
    union = sum(boxes[:, 2:].astype(np.float64).prod(axis=1) for boxes in (first, second)) - common
    shares: NDArray[np.float64] = common / np.maximum(union, 1e-12)
    return shares
