"""Metrics of landmarks and embeddings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.metrics.metrics import ImageMetric, Outputs, register_metric

PCK_SHARE: Final = 0.05
"""A point is correct within this part of the size of the box around all points."""

_SMALLEST: Final = 1e-12


def normalized_distances(points: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    """Distance of each point from its reference, relative to the square root of the area of the box around them.

    Args:
        points: (N, K, 2 or 3), or the coordinates of K points in a row (N, 2 K), also as (N, 1, 1, 2 K).
        reference: The same, of the float model or labelled. A box without an area counts by its longer side.

    Returns:
        (N, K); infinite for a point that is not a number.

    Raises:
        ValueError: The shapes differ, or they are none of points.
    """
    found, wanted = _as_points(points), _as_points(reference)
    if found.shape != wanted.shape:
        raise ValueError(f"points of shape {found.shape} but a reference of shape {wanted.shape}")
    sides = wanted[..., :2].max(axis=1) - wanted[..., :2].min(axis=1)
    size = np.sqrt(sides.prod(axis=1))
    size = np.where(size > 0, size, np.maximum(sides.max(axis=1), _SMALLEST))
    distances = np.linalg.norm(found - wanted, axis=2) / size[:, None]
    return np.where(np.isnan(distances), np.inf, distances)


def peaks(maps: NDArray[Any]) -> NDArray[np.float64]:
    """The places x, y of the largest values of heat maps (N, K, height, width) -> (N, K, 2)."""
    count, channels, _, width = maps.shape
    best = maps.reshape(count, channels, -1).argmax(axis=2)
    return np.stack([best % width, best // width], axis=2).astype(np.float64)


def cosines(outputs: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine of the angle between vectors (N, ...), -1 to 1; 0 where one has no direction or is not a number.

    Raises:
        ValueError: The shapes differ.
    """
    if outputs.shape != reference.shape:
        raise ValueError(f"outputs of shape {outputs.shape} but a reference of shape {reference.shape}")
    found, wanted = (values.reshape(len(values), -1).astype(np.float64) for values in (outputs, reference))
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    products = (found * wanted).sum(axis=1)
    is_direction = np.isfinite(lengths) & (lengths > 0)
    return np.where(is_direction, np.clip(products / np.where(is_direction, lengths, 1.0), -1.0, 1.0), 0.0)


@register_metric("nme")
@ImageMetric
def normalized_mean_error(outputs: Outputs, targets: NDArray[Any]) -> NDArray[np.float64]:
    """Negative mean of `normalized_distances` of an image's points: higher is better, as of every metric.

    Args:
        outputs: (N, K, 2 or 3) or (N, 2 K), or heat maps (N, K, height, width), whose peaks are taken.
        targets: The points, in the unit of the outputs.
    """
    errors: NDArray[np.float64] = -_distances(outputs, targets).mean(axis=1)
    return errors


@register_metric("pck")
@ImageMetric
def correct_keypoints(outputs: Outputs, targets: NDArray[Any]) -> NDArray[np.float64]:
    """Share of an image's points within a twentieth of the size of the box around them; otherwise as `nme`."""
    shares: NDArray[np.float64] = (_distances(outputs, targets) <= PCK_SHARE).mean(axis=1)
    return shares


@register_metric("cosine")
@ImageMetric
def cosine(outputs: Outputs, targets: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine of the angle between an embedding and the labelled one, e.g. that of a larger network.

    Args:
        outputs: (N, ...).
        targets: The same shape.
    """
    return cosines(outputs, np.asarray(targets))


def _distances(outputs: Outputs, targets: NDArray[Any]) -> NDArray[np.float64]:
    wanted = np.asarray(targets, dtype=np.float64)
    is_heat_map = outputs.ndim == 4 and outputs.shape[2] > 1
    return normalized_distances(peaks(outputs) if is_heat_map else outputs, wanted)


def _as_points(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N, K, 2 or 3) as they are, (N, 2 K) as (N, K, 2), and (N, 3 K) as (N, K, 3) where it is odd."""
    if values.ndim > 3 or (values.ndim == 3 and values.shape[2] not in (2, 3)):
        values = values.reshape(len(values), -1)
    if values.ndim == 2:
        coordinates = next((count for count in (2, 3) if values.shape[1] and values.shape[1] % count == 0), None)
        values = values if coordinates is None else values.reshape(len(values), -1, coordinates)
    if values.ndim != 3 or not values.shape[1]:
        raise ValueError(f"outputs of shape {values.shape}, needed: points (N, K, 2), (N, K, 3) or (N, 2 K)")
    return values.astype(np.float64)
