"""What every activation range initializer is given and must return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from nncf_mcq import registry
from nncf_mcq.statistics import ActivationStatistics


@dataclass(frozen=True)
class ActivationRangeTask:
    """One activation quantizer at one width: what a rule may look at.

    Attributes:
        statistics: Values seen where it stands; where several quantizers share one range, their pooled values.
        bits: Width, 2..8.
        per_channel: One range per channel rather than one per tensor; there is one channel otherwise.
    """

    statistics: ActivationStatistics
    bits: int
    per_channel: bool

    @cached_property
    def signed(self) -> bool:
        """Whether any value is negative. One sign for all channels: kernels know one type of activation per tensor."""
        return bool(self.statistics.minima.min() < 0)

    @cached_property
    def largest(self) -> torch.Tensor:
        """(images, channels) largest absolute value of each image, in the order of the calibration images."""
        return torch.maximum(-self.statistics.minima, self.statistics.maxima)


class ActivationRangeInitializer(ABC):
    """Finds the threshold that an activation is clipped to.

    The range is then -threshold to threshold, or 0 to threshold where no value is negative.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.
    """

    class Parameters(registry.Parameters):
        """Parameters in the JSON; a subclass narrows `type` to its name."""

        type: str

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    @abstractmethod
    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The threshold of the absolute values, (channels,), finite and in the activation's own unit."""
