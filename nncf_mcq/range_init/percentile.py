"""Clipping at a percentile of the weights."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeInitializer, RangeTask, SingleRule
from nncf_mcq.range_init.grid import Grid, grid_from_range, is_symmetric


@RANGE_INITIALIZERS.register
class PercentileRange(SingleRule):
    """The range that leaves out a given share of the weights at the ends.

    Source: McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient
    Embedded Inference", 2018; NNCF's `percentile` range initializer. Linear interpolation between order statistics.
    """

    class Parameters(RangeInitializer.Parameters):
        """`percentile`: the share of weights kept, in per cent."""

        type: Literal["percentile"] = "percentile"
        percentile: Annotated[float, Field(gt=50, le=100)] = 99.9
        """Share of the weights that is kept, in per cent."""

    parameters: Parameters

    def find_grid(self, task: RangeTask) -> Grid:
        """Symmetric grids clip |w| at the percentile, asymmetric ones clip each end at half of what is left out."""
        weights = task.weights if task.per_channel else task.weights.reshape(1, 1, -1)
        share = self.parameters.percentile / 100
        if is_symmetric(task.bits, task.mode):
            high = quantile(weights.abs(), share)
            low = -high
        else:
            high = quantile(weights, (1 + share) / 2)
            low = quantile(weights, (1 - share) / 2)
        shape = task.weights.shape[:2]
        return grid_from_range(low.expand(shape), high.expand(shape), task.bits, task.mode)


def quantile(values: torch.Tensor, share: float) -> torch.Tensor:
    """Quantile over the last dimension; torch.quantile refuses more than 16 million values.

    Args:
        values: (..., N).
        share: Of the values that are not larger, 0..1.

    Returns:
        (...), interpolated linearly between order statistics.
    """
    ordered = values.sort(dim=-1).values
    position = share * (values.shape[-1] - 1)
    below = int(position)
    above = min(below + 1, values.shape[-1] - 1)
    return torch.lerp(ordered[..., below], ordered[..., above], position - below)
