"""Scores as estimates: one value for each image, and how far two policies can be told apart by them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ImageScores: TypeAlias = NDArray[np.float32]
"""(N,) values of the images that a policy is scored on, of which the score is the mean."""


def mean_score(values: NDArray[np.floating]) -> float:
    """The score: the mean of the images, in float64."""
    return float(values.mean(dtype=np.float64))


@dataclass(frozen=True)
class Difference:
    """Difference of two policies' scores on the same images.

    Attributes:
        mean: The difference; negative where the first one is better.
        error: Its standard error: how far the mean over other images of the same kind would be from it.
    """

    mean: float
    error: float


def standard_error(values: NDArray[np.generic]) -> float:
    """Standard error of the mean of (N,) values; infinite for fewer than two."""
    count = len(values)
    return float(values.std(ddof=1, dtype=np.float64) / np.sqrt(count)) if count > 1 else float("inf")


def paired_difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> Difference:
    """How much lower or higher the first policy scores on the same images.

    Args:
        first: Values of the images.
        second: Values of the same images.

    Returns:
        The error is infinite where there are fewer than two images, and not a number where a value is not finite.
    """
    # Images that are infinitely far by both policies make the difference not a number.
    with np.errstate(invalid="ignore"):
        difference = first.astype(np.float64) - second
        return Difference(float(difference.mean()), standard_error(difference))


def to_text(values: ImageScores) -> str:
    """Exact and short: base64 of little-endian float32."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def from_text(text: str) -> ImageScores:
    """The values that `to_text` wrote.

    Raises:
        ValueError: The text is no such thing.
    """
    values: ImageScores = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    return values
