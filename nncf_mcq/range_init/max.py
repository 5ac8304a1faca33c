"""No clipping: the range reaches the largest weight."""

from __future__ import annotations

from typing import Literal

from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeInitializer, RangeTask, SingleRule, extremes
from nncf_mcq.range_init.grid import Grid, grid_from_range


@RANGE_INITIALIZERS.register
class MaxRange(SingleRule):
    """The range from the smallest to the largest weight; best where there are levels enough.

    Source: the min-max rule of Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018.
    """

    class Parameters(RangeInitializer.Parameters):
        """No parameters besides the type."""

        type: Literal["max"] = "max"

    def find_grid(self, task: RangeTask) -> Grid:
        """The grid over the extremes of each row, or of the layer."""
        low, high = extremes(task.weights, task.per_channel)
        return grid_from_range(low, high, task.bits, task.mode)
