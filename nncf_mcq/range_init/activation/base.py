"""Base of the activation range initializers, and the task that they are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch

from nncf_mcq.calibration.statistics import ActivationStatistics
from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.registry import ACTIVATION_RANGE_PARAMETERS, Configurable, Registry
from nncf_mcq.range_init.grid import Grid

_SMALLEST_STEP = 1e-12
"""Keeps an activation that is always zero on a grid."""


@dataclass(frozen=True)
class ActivationRangeTask:
    """One activation quantizer at one width: what a rule may look at.

    Attributes:
        statistics: Values seen where it stands; where several quantizers share one range, their pooled values.
        bits: Width, 2..8.
        per_channel: One range per channel rather than one per tensor; there is one channel otherwise.
        asymmetric: Where values are negative, whether the range may reach further on one side of zero.
    """

    statistics: ActivationStatistics
    bits: int
    per_channel: bool
    asymmetric: bool = False

    @cached_property
    def signed(self) -> bool:
        """Whether any value is negative. One sign for all channels: kernels know one type of activation per tensor."""
        return bool(self.statistics.minima.min() < 0)

    @cached_property
    def largest(self) -> torch.Tensor:
        """(images, channels) largest absolute value of each image, in the order of the calibration images."""
        return torch.maximum(-self.statistics.minima, self.statistics.maxima)

    def side(self, sign: int) -> ActivationRangeTask:
        """The task for the values of one sign, as a range from zero to the largest magnitude."""
        seen = self.statistics
        lows, highs = (seen.minima, seen.maxima) if sign > 0 else (-seen.maxima, -seen.minima)
        kept = ActivationStatistics(
            lows.clamp_min(0), highs.clamp_min(0), (sign * seen.samples).clamp_min(0), seen.rank
        )
        return ActivationRangeTask(kept, self.bits, self.per_channel)


def symmetric_grid(threshold: torch.Tensor, bits: int) -> Grid:
    """The grid around zero whose largest value is the threshold; it reaches one step further below.

    Args:
        threshold: (channels,) largest values, positive.
        bits: 2..8.
    """
    half = 2 ** (bits - 1)
    scale = threshold / (half - 1)
    return Grid(scale, torch.full_like(scale, half), 0, 2 * half - 1)


def asymmetric_grid(low: torch.Tensor, high: torch.Tensor, bits: int) -> Grid:
    """The grid of all 2^b levels that is as long as a range and nearest to it among those that hold zero.

    Args:
        low: (channels,) lower ends, at most 0.
        high: (channels,) upper ends, at least 0.
        bits: 2..8.
    """
    top = 2**bits - 1
    scale = ((high - low) / top).clamp_min(_SMALLEST_STEP)
    return Grid(scale, torch.round(-low / scale).clamp_(0, top), 0, top)


class ActivationRangeInitializer(Configurable, ABC):
    """Finds the threshold that an activation is clipped to.

    The range is then -threshold to threshold, or 0 to threshold where no value is negative. An asymmetric range has the
    thresholds of both signs.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.
    """

    class Parameters(NamedParameters):
        """Parameters in the JSON; a subclass narrows `type` to its name."""

    @abstractmethod
    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        """The threshold of the absolute values, (channels,), finite and in the activation's own unit."""

    def find_range(self, task: ActivationRangeTask) -> tuple[torch.Tensor, torch.Tensor]:
        """Lowest and highest value, (channels,) each."""
        if task.signed and task.asymmetric:
            return -self.find_threshold(task.side(-1)), self.find_threshold(task.side(1))
        threshold = self.find_threshold(task)
        return -threshold if task.signed else torch.zeros_like(threshold), threshold


ACTIVATION_RANGE_INITIALIZERS: Registry[ActivationRangeInitializer] = Registry(ACTIVATION_RANGE_PARAMETERS)
"""Activation range initializers by name."""
