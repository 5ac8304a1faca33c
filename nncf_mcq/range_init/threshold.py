"""Base of rules that find one threshold of |w| for each row."""

from __future__ import annotations

import torch

from nncf_mcq.range_init.base import RangeTask, extremes
from nncf_mcq.range_init.grid import Grid, grid_from_range


def pooled_weights(task: RangeTask) -> torch.Tensor:
    """The weights that share a range, in the last dimension: (groups, rows, columns), or (1, 1, all) per tensor."""
    return task.weights if task.per_channel else task.weights.reshape(1, 1, -1)


def grid_from_threshold(threshold: torch.Tensor, task: RangeTask) -> Grid:
    """The grid from -threshold to threshold, neither end beyond the smallest or largest weight.

    Args:
        threshold: (groups, rows), or (1, 1) per tensor; at least 0.
        task: The layer and width.
    """
    low, high = extremes(task.weights, task.per_channel)
    return grid_from_range(torch.maximum(low, -threshold), torch.minimum(high, threshold), task.bits, task.mode)
