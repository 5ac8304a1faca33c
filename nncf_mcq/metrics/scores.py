"""Distances of a candidate's outputs from the float outputs, by name: what a search minimizes. No labels are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.metrics.detection import BOX_VALUES
from nncf_mcq.metrics.metrics import kl_divergence, to_logits
from nncf_mcq.utils.named_functions import NamedFunctions

Score = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""From one output (N, ...) and the float model's of the same shape to a distance; lower is better."""

SCORES: NamedFunctions[Score] = NamedFunctions("score")
"""The registered scores by the name that the configuration uses."""

_LEAST_PROBABILITY = 1e-7

register_score = SCORES.register
get_score = SCORES.find


register_score("kl")(kl_divergence)


@register_score("distribution_divergence")
def distribution_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """KL divergence of distributions over the second dimension, averaged over all others, in nats.

    Args:
        outputs: (N, classes, ...): probabilities.
        reference: The float model's.
    """
    return kl_divergence(_rows(to_logits(outputs)), _rows(to_logits(reference)))


@register_score("map_divergence")
def map_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """KL divergence of the classes of each pixel, averaged over the pixels, in nats.

    Args:
        outputs: (N, classes, ...): logits, as of a segmentation.
        reference: The float model's.
    """
    return kl_divergence(_rows(outputs), _rows(reference))


@register_score("bernoulli_divergence")
def bernoulli_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """KL divergence of independent probabilities of yes, summed over the second dimension and averaged over all others.

    Args:
        outputs: (N, ...): probabilities, as a sigmoid yields them.
        reference: The float model's.

    Returns:
        In nats; infinite where an output is not a number.
    """
    if np.isnan(outputs).any():
        return float("inf")
    divergence = _bernoulli_divergence(outputs, reference)
    return float(divergence.sum(axis=1).mean() if divergence.ndim > 1 else divergence.mean())


@register_score("disagreement")
def disagreement(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Share of values, 0 to 1, that differ: for outputs of whole numbers, e.g. classes."""
    return float(np.mean(outputs != reference)) if outputs.size else 0.0


@register_score("squared_error")
def squared_error(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Sum of the squared differences relative to that of the squared float outputs."""
    difference = np.square(outputs.astype(np.float64) - reference).sum()
    return float(difference / max(np.square(reference.astype(np.float64)).sum(), 1e-20))


@register_score("detection_divergence")
def detection_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """How far a detector's answers are from those of the float detector, weighed by what counts for its precision.

    Most of a detector's boxes hold nothing, and where they lie does not matter. For each box this is the KL divergence
    of its objectness, and, weighed by the float objectness, those of its classes and the share of its area that
    the two boxes do not have in common (one minus their overlap). Summed over the boxes, averaged over the images.

    Args:
        outputs: (N, boxes, 5 + classes): centre x, y, width and height, then the probability of an object, and of each
            class given one.
        reference: The float model's.

    Returns:
        At least 0; infinite where an output is not a number.

    Raises:
        ValueError: The outputs are not those of a detector.
    """
    if reference.ndim != 3 or reference.shape[2] <= BOX_VALUES or outputs.shape != reference.shape:
        raise ValueError(
            f"outputs of shape {outputs.shape} and a reference of shape {reference.shape}, needed: both (N, boxes, "
            f"{BOX_VALUES} + classes)"
        )
    if np.isnan(outputs).any():
        return float("inf")
    total = 0.0
    # Image by image: in float64, all of them at once would take several times the memory of the outputs.
    for found, expected in zip(outputs, reference, strict=True):
        objectness = expected[:, BOX_VALUES - 1].astype(np.float64)
        classes = _bernoulli_divergence(found[:, BOX_VALUES:], expected[:, BOX_VALUES:]).sum(axis=1)
        apart = 1.0 - _overlap(found[:, : BOX_VALUES - 1], expected[:, : BOX_VALUES - 1])
        total += float(
            (_bernoulli_divergence(found[:, BOX_VALUES - 1], objectness) + objectness * (classes + apart)).sum()
        )
    return total / len(reference)


@register_score("box_class_divergence")
def box_class_divergence(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Distance of the outputs of detectors without an objectness.

    For each box it is the KL divergence of its classes and, weighed by its largest float class probability, the share
    of its area that the two boxes do not have in common. Summed over the boxes, averaged over the images.

    Args:
        outputs: (N, 4 + classes, boxes): centre x, y, width and height, then the probability of each class, as YOLOv8
            and its successors yield them.
        reference: The float model's.

    Returns:
        At least 0; infinite where an output is not a number.

    Raises:
        ValueError: The outputs are not those of such a detector.
    """
    if reference.ndim != 3 or reference.shape[1] <= BOX_VALUES - 1 or outputs.shape != reference.shape:
        raise ValueError(
            f"outputs of shape {outputs.shape} and a reference of shape {reference.shape}, needed: both "
            f"(N, {BOX_VALUES - 1} + classes, boxes)"
        )
    if np.isnan(outputs).any():
        return float("inf")
    total = 0.0
    for found, expected in zip(outputs.transpose(0, 2, 1), reference.transpose(0, 2, 1), strict=True):
        confidence = expected[:, BOX_VALUES - 1 :].max(axis=1).astype(np.float64)
        classes = _bernoulli_divergence(found[:, BOX_VALUES - 1 :], expected[:, BOX_VALUES - 1 :]).sum(axis=1)
        apart = 1.0 - _overlap(found[:, : BOX_VALUES - 1], expected[:, : BOX_VALUES - 1])
        total += float((classes + confidence * apart).sum())
    return total / len(reference)


def _bernoulli_divergence(found: NDArray[np.floating], expected: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(expected || found) of probabilities of yes, in nats."""
    limits = (_LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    yes, wanted = (np.clip(values.astype(np.float64), *limits) for values in (found, expected))
    divergence: NDArray[np.float64] = wanted * np.log(wanted / yes) + (1 - wanted) * np.log((1 - wanted) / (1 - yes))
    return divergence


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
