"""Parameters of the distillation of images, which the configuration reads without PyTorch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from nncf_mcq.data.preprocessing import FiniteNumber, PositiveNumber
from nncf_mcq.data.splits import DatasetParameters

_NonNegative = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class DistillationParameters(DatasetParameters):
    """Parameters of the distillation of images."""

    seed: Annotated[int, Field(strict=True, ge=0)] = Field(default=0, description="Random seed of noise and classes.")
    batch_size: PositiveInt = Field(default=32, description="Number of images per batch, which share its statistics.")
    iterations: PositiveInt = Field(
        default=150, description="Number of Adam steps; at half the resolution for images of 128 pixels or more."
    )
    refinements: Annotated[int, Field(ge=0)] = Field(
        default=10, description="Number of steps at full resolution after those at half of it."
    )
    learning_rate: PositiveNumber = Field(
        default=0.2,
        description="Learning rate of Adam, in deviations of the initial noise; falls to 0 as half a cosine.",
    )
    class_weight: _NonNegative = Field(
        default=0.02, description="Weight of the cross entropy to a random class for each image; classifiers only."
    )
    smoothness: _NonNegative = Field(
        default=0.02, description="Weight of the mean difference between neighbouring pixels, in deviations."
    )
    input_range: list[FiniteNumber] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Smallest and largest value of the network's input, e.g. [-1, 1]; null: unlimited, deviation 1.",
    )
