"""Rules that try many thresholds and keep the one of least error, batched over rows and candidates."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeInitializer, RangeTask, SingleRule, extremes
from nncf_mcq.range_init.grid import Grid, grid_from_range, grid_from_scale, is_symmetric

_CHUNK_ELEMENTS = 4_000_000
"""Weights times candidates held at a time (16 MB in float32): fits the caches better than one large batch."""


class SearchParameters(RangeInitializer.Parameters):
    """Parameters of every threshold search."""

    candidates: PositiveInt = Field(default=32, description="Thresholds tried between smallest_ratio and 1.")
    smallest_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Smallest threshold tried, relative to the largest weight."
    )


class ThresholdSearch(SingleRule):
    """Base of the rules that minimize an error over a grid of thresholds."""

    parameters: SearchParameters

    @abstractmethod
    def errors(self, quantized: torch.Tensor, task: RangeTask) -> torch.Tensor:
        """Error of candidates (candidates, groups, rows, columns) -> (candidates, groups, rows)."""

    def find_grid(self, task: RangeTask) -> Grid:
        """The candidate of least error for each row, or for the whole layer."""
        parameters = self.parameters
        scales, zero_points = candidate_grids(task, parameters.candidates, parameters.smallest_ratio)
        chunk = max(1, _CHUNK_ELEMENTS // task.weights.numel())
        errors = []
        for start in range(0, len(scales), chunk):
            grid = grid_from_scale(
                scales[start : start + chunk], zero_points[start : start + chunk], task.bits, task.mode
            )
            errors.append(self.errors(grid.quantize(task.weights), task))
        error = torch.cat(errors)
        if not task.per_channel:
            error = error.sum(dim=(1, 2), keepdim=True).expand_as(error)
        best = error.argmin(dim=0, keepdim=True)
        scale, zero_point = (values.gather(0, best).squeeze(0) for values in (scales, zero_points))
        return grid_from_scale(scale, zero_point, task.bits, task.mode)


def candidate_grids(task: RangeTask, count: int, smallest_ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points to try: the max-abs grid shrunk step by step, with neighbouring zero points at low bits.

    Returns:
        Two tensors (candidates, groups, rows).
    """
    low, high = extremes(task.weights, task.per_channel)
    largest = grid_from_range(low, high, task.bits, task.mode)
    ratios = torch.linspace(smallest_ratio, 1.0, count)
    scales = ratios[:, None, None] * largest.scale
    zero_points = largest.zero_point.expand_as(scales)
    # With few levels, giving one more to either side matters as much as the scale.
    if is_symmetric(task.bits, task.mode) or task.bits > 4:
        return scales, zero_points
    middle = 2.0 ** (task.bits - 1) - 0.5
    towards_middle = torch.where(largest.zero_point < middle, 1.0, -1.0)
    offsets = (0.0, 1.0) if task.bits > 2 else (0.0, 1.0, 2.0)
    shifted = [largest.zero_point + offset * towards_middle for offset in offsets]
    return (
        torch.cat([scales for _ in shifted]),
        torch.cat([zero_point.expand_as(scales) for zero_point in shifted]),
    )


@RANGE_INITIALIZERS.register
class MseRange(ThresholdSearch):
    """The range of least squared error of the weights.

    Source: Sung, Shin and Hwang, "Resiliency of Deep Neural Networks under Quantization", 2015. It shrinks the energy
    of the weights; pair it with the gain correction.
    """

    class Parameters(SearchParameters):
        """See `SearchParameters`."""

        type: Literal["mse"] = "mse"

    def errors(self, quantized: torch.Tensor, task: RangeTask) -> torch.Tensor:
        """Sum of squared differences."""
        return (quantized - task.weights).square_().sum(dim=3)


@RANGE_INITIALIZERS.register
class OutputMseRange(ThresholdSearch):
    """The range of least squared error of the weights, each weighted by the variance of the input that it multiplies.

    That is the error of the layer's output for inputs that do not correlate. Source: the diagonal form of the
    layer-wise objective in Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022.
    """

    class Parameters(SearchParameters):
        """See `SearchParameters`."""

        type: Literal["output_mse"] = "output_mse"

    def errors(self, quantized: torch.Tensor, task: RangeTask) -> torch.Tensor:
        """Sum of squared differences times input variance."""
        difference = (quantized - task.weights).square_()
        return torch.einsum("kgrc,gc->kgr", difference, task.statistics.variance)
