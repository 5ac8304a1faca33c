"""The rule that loses least on held-out images at 8 bits, and least squared error below."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import ACTIVATION_RANGE_PARAMETERS
from nncf_mcq.range_init.activation.base import (
    ACTIVATION_RANGE_INITIALIZERS,
    ActivationRangeInitializer,
    ActivationRangeTask,
)


@ACTIVATION_RANGE_INITIALIZERS.register
class AutomaticActivationRange(ActivationRangeInitializer):
    """One of several rules for all activations with 8 bits, chosen by the score of the whole model.

    What clipping costs depends on how far the largest values count for the outputs, which no error of an activation
    tells, and on values that few images do not show. So each candidate's ranges are taken from one half of the
    calibration images and scored on the other, both ways round; another candidate than the first is taken only where it
    is clearly better in both. Below 8 bits, where clipping gains much, and where there is a single image, the first
    candidate is kept.
    """

    class Parameters(ActivationRangeInitializer.Parameters):
        """`candidates`: the rules, the usual one first."""

        type: Literal["automatic"] = "automatic"
        candidates: list[
            Annotated[NamedParameters, RegisteredParameters(ACTIVATION_RANGE_PARAMETERS, exclude=["automatic"])]
        ] = Field(
            default=["mse", "max", "mean_max"],
            min_length=1,
            validate_default=True,
            description="Rules that are compared at 8 bits: names, or objects with parameters. The first is the usual "
            "one; mean_max is NNCF's own.",
        )

    parameters: Parameters

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The threshold of the first candidate."""
        return self._first.find_threshold(task)

    def find_range(self, task: ActivationRangeTask) -> tuple[torch.Tensor, torch.Tensor]:
        """The range of the first candidate."""
        return self._first.find_range(task)

    @property
    def _first(self) -> ActivationRangeInitializer:
        return ACTIVATION_RANGE_INITIALIZERS.create(self.parameters.candidates[0])
