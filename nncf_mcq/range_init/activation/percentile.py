"""Clipping at a percentile of the activation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.range_init.activation.base import (
    ACTIVATION_RANGE_INITIALIZERS,
    ActivationRangeInitializer,
    ActivationRangeTask,
)
from nncf_mcq.range_init.percentile import quantile


@ACTIVATION_RANGE_INITIALIZERS.register
class PercentileActivationRange(ActivationRangeInitializer):
    """The percentile of the absolute values of the samples, interpolated linearly between order statistics.

    The samples are values drawn at random, the same number from every calibration image: 2048 of a tensor, or 16 of
    each channel that has a range of its own. From 128 images a channel has 2048 samples, so the default percentile lies
    between its two largest ones. The largest value of an image need not be among the samples: the percentile 100 may
    clip more than `max`. Where the percentile is zero, as in a channel that hardly ever fires, nothing is clipped.

    Source: McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient
    Embedded Inference", 2018; NNCF's `percentile`.
    """

    class Parameters(ActivationRangeInitializer.Parameters):
        """`percentile`: the share of the sampled values that is kept, in per cent."""

        type: Literal["percentile"] = "percentile"
        percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
        """Share of the sampled values that is kept, in per cent."""

    parameters: Parameters

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The percentile of each channel's samples."""
        found = quantile(task.statistics.samples.abs(), self.parameters.percentile / 100)
        return torch.where(found > 0, found, task.largest.amax(dim=0))
