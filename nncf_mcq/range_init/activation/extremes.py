"""Rules that only look at the largest absolute value of each image."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.range_init.activation.base import (
    ACTIVATION_RANGE_INITIALIZERS,
    ActivationRangeInitializer,
    ActivationRangeTask,
)


@ACTIVATION_RANGE_INITIALIZERS.register
class MaxActivationRange(ActivationRangeInitializer):
    """The largest absolute value of all images: nothing that was seen is clipped.

    Source: the min-max rule of Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018; NNCF's `min_max`.
    """

    class Parameters(ActivationRangeInitializer.Parameters):
        """No parameters besides the type."""

        type: Literal["max"] = "max"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The maximum over the images."""
        return task.largest.amax(dim=0)


@ACTIVATION_RANGE_INITIALIZERS.register
class MeanMaxActivationRange(ActivationRangeInitializer):
    """The mean over images of each image's largest absolute value; channels with ranges of their own take the maximum.

    Source: NNCF's `mean_min_max`, its default for ranges per tensor; it too takes the maximum per channel.
    """

    class Parameters(ActivationRangeInitializer.Parameters):
        """No parameters besides the type."""

        type: Literal["mean_max"] = "mean_max"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The mean over the images, or the maximum per channel."""
        return task.largest.amax(dim=0) if task.per_channel else task.largest.mean(dim=0)


@ACTIVATION_RANGE_INITIALIZERS.register
class MovingMaxActivationRange(ActivationRangeInitializer):
    """The exponential moving average over images of each image's largest absolute value.

    It starts from the first image, so it depends on the order of the calibration images: with momentum m, the last
    1 / (1 - m) images or so decide. Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1, who average over training steps.
    """

    class Parameters(ActivationRangeInitializer.Parameters):
        """`momentum`: what the average keeps of itself from one image to the next."""

        type: Literal["moving_max"] = "moving_max"
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
        """Weight of the average so far when the next image is added."""

    parameters: Parameters

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The average after the last image."""
        average = task.largest[0]
        for largest in task.largest[1:]:
            average = torch.lerp(largest, average, self.parameters.momentum)
        return average
