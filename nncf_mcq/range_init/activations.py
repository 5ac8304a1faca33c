"""Ranges of activations that know their bit-width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from nncf_mcq.algorithm import ActivationPoint, ValueRange
from nncf_mcq.statistics import ActivationStatistics

ActivationRule = Literal["max", "mean_max", "mse"]

_CANDIDATES = 64
_SMALLEST_RATIO = 0.1


def activation_ranges(
    points: Sequence[ActivationPoint],
    unified_scales: Sequence[Sequence[str]],
    statistics: Mapping[str, ActivationStatistics],
    bits: Mapping[str, int],
    rule: ActivationRule,
) -> dict[str, ValueRange]:
    """The range of every activation quantizer at its width.

    Args:
        points: Where activations are quantized.
        unified_scales: Names of points that must share one range: they get that of their pooled values.
        statistics: Values seen at each point.
        bits: Width of each point.
        rule: max: the largest value of all images. mean_max: the mean over images of each image's largest value, NNCF's
            default for per-tensor ranges (channels that have ranges of their own take the maximum, as in NNCF). mse:
            the threshold of least squared error at this width.

    Returns:
        Point name to its range: symmetric, or from zero where no value is negative. Scalars per tensor,
        (1, C, 1, ...) per channel.
    """
    found: dict[str, ValueRange] = {}
    in_group = {name: group for group in unified_scales for name in group}
    for point in points:
        names = in_group.get(point.name, (point.name,))
        pooled = _pool([statistics[name] for name in names])
        threshold = _threshold(pooled, bits[point.name], rule, point.per_channel)
        # One sign for the whole quantizer: kernels know one type of activation per tensor.
        signed = bool(pooled.minima.min() < 0)
        # An activation that is always zero still needs a range that is not empty.
        threshold = threshold.clamp_min(1e-6)
        low = -threshold if signed else torch.zeros_like(threshold)
        shape = (1, -1, *(1 for _ in range(pooled.rank - 2))) if point.per_channel else ()
        found[point.name] = ValueRange(low.reshape(shape).numpy(), threshold.reshape(shape).numpy())
    return found


def _pool(statistics: list[ActivationStatistics]) -> ActivationStatistics:
    if len(statistics) == 1:
        return statistics[0]
    return ActivationStatistics(
        torch.cat([item.minima for item in statistics]),
        torch.cat([item.maxima for item in statistics]),
        torch.cat([item.samples for item in statistics], dim=1),
        statistics[0].rank,
    )


def _threshold(statistics: ActivationStatistics, bits: int, rule: ActivationRule, per_channel: bool) -> torch.Tensor:
    """(channels,) threshold of the absolute values."""
    largest = torch.maximum(-statistics.minima, statistics.maxima)
    if rule == "mean_max" and not per_channel:
        return largest.mean(dim=0)
    if rule != "mse":
        return largest.amax(dim=0)
    top = largest.amax(dim=0)
    signed = bool(statistics.minima.min() < 0)
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    ratios = torch.linspace(_SMALLEST_RATIO, 1, _CANDIDATES)
    best_error = torch.full_like(top, torch.inf)
    best = top.clone()
    # One candidate at a time: the samples are large, and there are few candidates.
    for ratio in ratios:
        scale = (top * ratio / highest).clamp_min(1e-12)[:, None]
        levels = torch.round(statistics.samples / scale).clamp_(lowest, highest)
        error = (levels * scale - statistics.samples).square_().sum(dim=1)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best = torch.where(better, top * ratio, best)
    return best
