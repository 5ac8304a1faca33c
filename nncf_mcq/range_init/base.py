"""Base of the range initializers, the task that they are given, and the range that they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.registry import RANGE_PARAMETERS, Configurable, Registry
from nncf_mcq.range_init.grid import Grid, QuantizationMode


@dataclass(frozen=True)
class RangeTask:
    """One layer at one width: what a rule may look at.

    Attributes:
        weights: (groups, rows, columns) float weights.
        bits: Width, 2..8.
        mode: Levels around zero, or all levels with a zero point.
        per_channel: One range per row rather than one for the layer.
        statistics: Moments of the layer's input.
        output_error: The error that a grid leaves in each row's output after rounding and corrections, (groups, rows);
            takes several grids, stacked in a leading dimension: (candidates, groups, rows) in and out.
        fisher: (groups, rows, columns) Fisher information of the weights, or None where no rule needs it.
        output_variance: (groups, rows) variance of each row's float output, by which errors of rows that share one
            range are compared; None where they are as they are.
    """

    weights: torch.Tensor
    bits: int
    mode: QuantizationMode
    per_channel: bool
    statistics: LayerStatistics
    output_error: Callable[[Grid], torch.Tensor]
    fisher: torch.Tensor | None = None
    output_variance: torch.Tensor | None = None


@dataclass(frozen=True)
class RangeChoice:
    """The ranges that a rule found for one layer at one width.

    Attributes:
        grid: (groups, rows) scales and zero points: the range is `grid.range_low` to `grid.range_high`.
        rule: (groups, rows) index into `rules`.
        rules: Names of the rules that were chosen from.
        errors: (rules, groups, rows) output error that each rule would leave, or None where only one was tried.
    """

    grid: Grid
    rule: torch.Tensor
    rules: tuple[str, ...]
    errors: torch.Tensor | None = None

    @property
    def dominant_rule(self) -> str:
        """The rule that most channels chose."""
        return self.rules[int(torch.bincount(self.rule.flatten(), minlength=len(self.rules)).argmax())]


class RangeInitializer(Configurable, ABC):
    """Finds the range that a layer's weights are clipped to before they are rounded.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.

    Attributes:
        needs_fisher: Whether the rule reads `RangeTask.fisher`, which costs passes through the network.
    """

    class Parameters(NamedParameters):
        """Parameters in the JSON; a subclass narrows `type` to its name."""

    needs_fisher: bool = False

    def for_layer(self, name: str) -> RangeInitializer:
        """Itself: it is the rule of every layer, where the configuration gives no other ones (`RangeSelection`)."""
        return self

    @abstractmethod
    def find_range(self, task: RangeTask) -> RangeChoice:
        """Chooses the range of one layer at one width."""


RANGE_INITIALIZERS: Registry[RangeInitializer] = Registry(RANGE_PARAMETERS)
"""Range initializers by name."""


class SingleRule(RangeInitializer):
    """A rule that yields one grid per layer and width."""

    @abstractmethod
    def find_grid(self, task: RangeTask) -> Grid:
        """The grid of shape (groups, rows)."""

    def find_range(self, task: RangeTask) -> RangeChoice:
        """The rule's own grid for every row."""
        grid = self.find_grid(task)
        rule = torch.zeros(grid.scale.shape, dtype=torch.int64)
        return RangeChoice(grid, rule, (self.parameters.type,))


def extremes(weights: torch.Tensor, per_channel: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest weight, (groups, rows), per row or of the whole layer."""
    low, high = weights.amin(dim=2), weights.amax(dim=2)
    if not per_channel:
        low, high = low.amin().expand_as(low), high.amax().expand_as(high)
    return low, high
