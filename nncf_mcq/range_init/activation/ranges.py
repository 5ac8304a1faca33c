"""Ranges of all activation quantizers, from a rule and the statistics of each activation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from nncf_mcq.calibration.statistics import ActivationStatistics
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.algorithm import ActivationPoint, ValueRange
from nncf_mcq.range_init.activation.base import (
    ActivationRangeInitializer,
    ActivationRangeTask,
    asymmetric_grid,
    symmetric_grid,
)

_SMALLEST_THRESHOLD = 1e-6
"""An activation that is always zero still needs a range that is not empty."""


def activation_ranges(
    points: Sequence[ActivationPoint],
    unified_scales: Sequence[Sequence[str]],
    statistics: Mapping[str, ActivationStatistics],
    bits: Mapping[str, int],
    initializer: ActivationRangeInitializer,
    asymmetric: Collection[str] = (),
) -> dict[str, ValueRange]:
    """The range of every activation quantizer at its width.

    Args:
        points: Where activations are quantized.
        unified_scales: Names of points that must share one range: they get that of their pooled values.
        statistics: Values seen at each point.
        bits: Width of each point.
        initializer: The rule.
        asymmetric: Names of points where, if values are negative, all 2^b levels lie between the lowest and the highest
            value.

    Returns:
        Point name to its range: symmetric, from zero where no value is negative, or the ends of the asymmetric grid.
        Scalars per tensor, (1, C, 1, ...) per channel.

    Raises:
        QuantizationError: The rule's thresholds have another shape than (channels,), or are not finite.
    """
    found: dict[str, ValueRange] = {}
    in_group = {name: group for group in unified_scales for name in group}
    for point in points:
        pooled = _pool([statistics[name] for name in in_group.get(point.name, (point.name,))])
        is_asymmetric = point.name in asymmetric
        task = ActivationRangeTask(pooled, bits[point.name], point.per_channel, is_asymmetric)
        low, high = initializer.find_range(task)
        for threshold in (low, high):
            if threshold.shape != pooled.minima.shape[1:] or not bool(torch.isfinite(threshold).all()):
                raise QuantizationError(
                    f"{point.name}: the activation range initializer {initializer.parameters.type!r} must return "
                    f"{pooled.minima.shape[1]} finite thresholds, one per channel, but returned {threshold}"
                )
        high = high.clamp_min(_SMALLEST_THRESHOLD)
        if task.signed and is_asymmetric:
            grid = asymmetric_grid(low, high, task.bits)
            low, high = grid.range_low, grid.range_high
        elif task.signed:
            low = -high
        shape = (1, -1, *(1 for _ in range(pooled.rank - 2))) if point.per_channel else ()
        found[point.name] = ValueRange(low.reshape(shape).numpy(), high.reshape(shape).numpy())
    return found


def relative_error(statistics: ActivationStatistics, value_range: ValueRange, bits: int) -> float:
    """Squared error of quantizing an activation, relative to the squares of its values.

    Args:
        statistics: Values seen of it.
        value_range: Its range at the width, as `activation_ranges` returns it.
        bits: Width.
    """
    ends = (value_range.low, value_range.high)
    low, high = (torch.from_numpy(np.asarray(end, dtype=np.float32).reshape(-1)) for end in ends)
    is_symmetric = bool((low < 0).any()) and bool((low == -high).all())
    grid = symmetric_grid(high, bits) if is_symmetric else asymmetric_grid(low, high, bits)
    energy = float(statistics.samples.double().square().sum())
    return float((grid.quantize(statistics.samples) - statistics.samples).double().square().sum()) / max(energy, 1e-30)


def _pool(statistics: list[ActivationStatistics]) -> ActivationStatistics:
    """Statistics of the points' values as one activation: they all saw the same images in one order."""
    if len(statistics) == 1:
        return statistics[0]
    return ActivationStatistics(
        torch.stack([item.minima for item in statistics]).amin(dim=0),
        torch.stack([item.maxima for item in statistics]).amax(dim=0),
        torch.cat([item.samples for item in statistics], dim=1),
        statistics[0].rank,
    )
