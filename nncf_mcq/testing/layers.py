"""Layers to clip: weights, the moments of their inputs, and the error that a grid leaves in their outputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.range_init import Grid, QuantizationMode, RangeTask
from nncf_mcq.weights.moments import output_error

SHAPES: Mapping[str, tuple[int, int, int]] = {
    "convolution": (1, 6, 36),
    "grouped": (3, 2, 12),
    "depthwise": (8, 1, 9),
    "matmul": (1, 5, 40),
}
"""(groups, rows, columns) of each kind of layer."""


def normal_weights(shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Normal weights whose rows have different deviations."""
    generator = torch.Generator().manual_seed(seed)
    deviations = 0.02 + 0.2 * torch.rand(*shape[:2], 1, generator=generator)
    return torch.randn(shape, generator=generator) * deviations


def degenerate_weights() -> dict[str, torch.Tensor]:
    """Weights at the limits of what a layer may hold, by name."""
    weights = normal_weights(SHAPES["convolution"])
    outlier = weights.clone()
    outlier[0, 0, 0] = 1e4
    zero_channel = weights.clone()
    zero_channel[0, 2] = 0.0
    return {
        "all zero": torch.zeros_like(weights),
        "a zero channel": zero_channel,
        "constant": torch.full_like(weights, 0.7),
        "constant and negative": torch.full_like(weights, -0.7),
        "one weight": torch.full((1, 1, 1), 0.3),
        "one weight a channel": weights[:, :, :1].clone(),
        "positive": weights.abs(),
        "negative": -weights.abs(),
        "an outlier": outlier,
        "huge": weights * 1e30,
        "tiny": weights * 1e-30,
    }


def range_task(
    weights: torch.Tensor,
    bits: int,
    mode: QuantizationMode,
    per_channel: bool,
    *,
    diagonal: bool = False,
    fisher: bool = False,
) -> RangeTask:
    """The task of clipping a layer.

    Args:
        weights: (groups, rows, columns).
        bits: Bit-width.
        mode: Levels around zero, or all levels with a zero point.
        per_channel: One range per row rather than one for the layer.
        diagonal: Only the variances of the inputs are known, as of layers with very many inputs.
        fisher: The task has Fisher information.
    """
    groups, _, columns = weights.shape
    mean, covariance = (moments.clone() for moments in _moments(groups, columns))
    variance = torch.diagonal(covariance, dim1=1, dim2=2).clone()
    statistics = LayerStatistics(mean, None if diagonal else covariance, variance)

    def error(grid: Grid) -> torch.Tensor:
        return output_error(weights, grid.quantize(weights), statistics)

    information = torch.rand(weights.shape, generator=torch.Generator().manual_seed(1)) if fisher else None
    return RangeTask(weights, bits, mode, per_channel, statistics, error, information)


@functools.cache
def _moments(groups: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of inputs that correlate with their neighbours and have means other than zero."""
    inputs = torch.randn(groups, 200, columns, generator=torch.Generator().manual_seed(2))
    inputs = 0.3 + inputs + 0.5 * inputs.roll(1, dims=2)
    mean = inputs.mean(dim=1)
    centred = inputs - mean[:, None]
    return mean, centred.transpose(1, 2) @ centred / inputs.shape[1]
