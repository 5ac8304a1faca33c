"""Analytic clipping: the threshold that a distribution's formula says is best."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from scipy.optimize import minimize_scalar

from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeInitializer, RangeTask, SingleRule
from nncf_mcq.range_init.grid import Grid
from nncf_mcq.range_init.threshold import grid_from_threshold, pooled_weights

Distribution = Literal["laplace", "gauss"]

_KURTOSIS: dict[Distribution, float] = {"laplace": 6.0, "gauss": 3.0}
_LARGEST_THRESHOLD = 20.0
"""Upper end of the search: 8 bits take about 9.9 scales of a Laplace distribution."""


@RANGE_INITIALIZERS.register
class AciqRange(SingleRule):
    """The range of least expected squared error if the weights were drawn from a Laplace or Gauss distribution.

    The spread is measured around zero, where the mean of a layer's weights is nearly, so the threshold is the same to
    both sides; it never exceeds the largest weight. Source: Banner, Nahshan and Soudry, "Post Training 4-bit
    Quantization of Convolutional Networks for Rapid-Deployment" (ACIQ), NeurIPS 2019.
    """

    class Parameters(RangeInitializer.Parameters):
        """`distribution`: the one to assume; best: for each range the one whose kurtosis is closer to the weights'."""

        type: Literal["aciq"] = "aciq"
        distribution: Literal["laplace", "gauss", "best"] = "best"
        """Assumed distribution; best: for each range the one whose kurtosis is closer to that of the weights."""

    parameters: Parameters

    def find_grid(self, task: RangeTask) -> Grid:
        """The grid up to the optimal multiple of the weights' spread."""
        weights = pooled_weights(task)
        largest = weights.abs().amax(dim=2)
        # Relative to the largest weight: the moments of very small or large weights leave the range of float32.
        relative = weights / torch.where(largest > 0, largest, 1.0)[..., None]
        squares = relative.square()
        variance = squares.mean(dim=2)
        thresholds = {
            "laplace": optimal_threshold("laplace", task.bits) * relative.abs().mean(dim=2),
            "gauss": optimal_threshold("gauss", task.bits) * variance.sqrt(),
        }
        distribution = self.parameters.distribution
        if distribution == "best":
            kurtosis = squares.square().mean(dim=2) / variance.square().clamp_min(1e-30)
            is_laplace = kurtosis > sum(_KURTOSIS.values()) / 2
            threshold = torch.where(is_laplace, thresholds["laplace"], thresholds["gauss"])
        else:
            threshold = thresholds[distribution]
        return grid_from_threshold(threshold * largest, task)


@cache
def optimal_threshold(distribution: Distribution, bits: int) -> float:
    """The threshold of least expected squared error.

    Args:
        distribution: What values are drawn from.
        bits: Width.

    Returns:
        The threshold, relative to the scale b of the Laplace or the standard deviation of the Gauss distribution.
    """
    clipping: dict[Distribution, Callable[[float], float]] = {"laplace": _clipped_laplace, "gauss": _clipped_gauss}
    found = minimize_scalar(
        lambda threshold: clipping[distribution](threshold) + _rounding_noise(threshold, bits),
        bounds=(0.0, _LARGEST_THRESHOLD),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(found.x)


def _rounding_noise(threshold: float, bits: int) -> float:
    """Mean squared error of 2^bits steps of equal width between -threshold and threshold."""
    return float(threshold**2 / (3 * 4.0**bits))


def _clipped_laplace(threshold: float) -> float:
    """Mean squared error of clipping a Laplace distribution of scale 1."""
    return 2 * math.exp(-threshold)


def _clipped_gauss(threshold: float) -> float:
    """Mean squared error of clipping a Gauss distribution of standard deviation 1."""
    tails = math.erfc(threshold / math.sqrt(2))
    return (threshold**2 + 1) * tails - math.sqrt(2 / math.pi) * threshold * math.exp(-(threshold**2) / 2)
