"""Threshold searches by the p-norm of the weights' error."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeTask
from nncf_mcq.range_init.search import SearchParameters, ThresholdSearch


@RANGE_INITIALIZERS.register
class LpRange(ThresholdSearch):
    """The range of least p-norm of the weights' error: the larger the exponent, the less is clipped.

    Source: the layer-wise stage of Nahshan et al., "Loss Aware Post-Training Quantization", 2019.
    """

    class Parameters(SearchParameters):
        """`exponent`: p of the norm; 1 is `mae`, 2 is `mse`. See `SearchParameters` for the others."""

        type: Literal["lp"] = "lp"
        exponent: Annotated[float, Field(gt=0, le=16)] = 1.0
        """Exponent p of the norm: 1 is `mae`, 2 is `mse`."""

    parameters: Parameters

    def errors(self, quantized: torch.Tensor, task: RangeTask) -> torch.Tensor:
        """Sum of the absolute differences to the power of the exponent."""
        exponent = self.parameters.exponent
        difference = (quantized - task.weights).abs_()
        if exponent == 1:
            return difference.sum(dim=3)
        # Relative to the largest weight: a power of the weights themselves leaves the range of float32.
        largest = task.weights.abs().amax(dim=2, keepdim=True)
        if not task.per_channel:
            largest = largest.amax()
        return difference.div_(torch.where(largest > 0, largest, 1.0)).pow_(exponent).sum(dim=3)


@RANGE_INITIALIZERS.register
class MaeRange(ThresholdSearch):
    """The range of least absolute error of the weights; clips more than `mse`, as a single outlier weighs less.

    Source: as `LpRange`, with exponent 1.
    """

    class Parameters(SearchParameters):
        """See `SearchParameters`."""

        type: Literal["mae"] = "mae"

    def errors(self, quantized: torch.Tensor, task: RangeTask) -> torch.Tensor:
        """Sum of absolute differences."""
        return (quantized - task.weights).abs_().sum(dim=3)
