"""The threshold of least squared error."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.range_init.activation.base import (
    ACTIVATION_RANGE_INITIALIZERS,
    ActivationRangeInitializer,
    ActivationRangeTask,
    asymmetric_grid,
)

_TURNS = 2
"""So often each end of an asymmetric range is looked for again, given the other: the second turn changes little."""


@ACTIVATION_RANGE_INITIALIZERS.register
class MseActivationRange(ActivationRangeInitializer):
    """The threshold that leaves the least squared error in the sampled values at the quantizer's width.

    The fewer bits, the more it clips. Source: the search of Sung, Shin and Hwang, "Resiliency of Deep Neural Networks
    under Quantization", 2015, over the samples of `ActivationStatistics`.
    """

    class Parameters(ActivationRangeInitializer.Parameters):
        """`candidates` thresholds are tried, evenly from `smallest_ratio` to 1 times the largest absolute value."""

        type: Literal["mse"] = "mse"
        candidates: Annotated[int, Field(ge=2)] = Field(
            default=64, description="Thresholds tried between smallest_ratio and 1."
        )
        smallest_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
            default=0.1, description="Smallest threshold tried, relative to the largest absolute value."
        )

    parameters: Parameters

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The first candidate of least error, for each channel."""
        samples = task.statistics.samples
        top = task.largest.amax(dim=0)
        lowest, highest = (-(2 ** (task.bits - 1)), 2 ** (task.bits - 1) - 1) if task.signed else (0, 2**task.bits - 1)
        best_error = torch.full_like(top, torch.inf)
        best = top.clone()
        # One candidate at a time: the samples are large, and there are few candidates.
        for ratio in torch.linspace(self.parameters.smallest_ratio, 1, self.parameters.candidates):
            scale = (top * ratio / highest).clamp_min(1e-12)[:, None]
            levels = torch.round(samples / scale).clamp_(lowest, highest)
            error = (levels * scale - samples).square_().sum(dim=1)
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best = torch.where(better, top * ratio, best)
        return best

    def find_range(self, task: ActivationRangeTask) -> tuple[torch.Tensor, torch.Tensor]:
        """Both ends in turn: each alone would believe in a smaller step than they have together."""
        low, high = super().find_range(task)
        if not (task.signed and task.asymmetric):
            return low, high
        lowest, highest = (task.side(sign).largest.amax(dim=0) for sign in (-1, 1))
        ratios: list[float] = torch.linspace(self.parameters.smallest_ratio, 1, self.parameters.candidates).tolist()
        for _ in range(_TURNS):
            high = self._best(task, [(low, highest * ratio) for ratio in ratios])[1]
            low = self._best(task, [(-lowest * ratio, high) for ratio in ratios])[0]
        return low, high

    def _best(
        self, task: ActivationRangeTask, candidates: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The range of least error, channel by channel."""
        samples = task.statistics.samples
        best_error = torch.full_like(candidates[0][1], torch.inf)
        best = candidates[0]
        for candidate in candidates:
            grid = asymmetric_grid(*candidate, task.bits)
            error = (grid.quantize(samples) - samples).square_().sum(dim=1)
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best = (torch.where(better, candidate[0], best[0]), torch.where(better, candidate[1], best[1]))
        return best
