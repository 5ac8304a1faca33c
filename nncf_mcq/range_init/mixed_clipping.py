"""Mixed clipping: for each layer and width, and each channel, the rule that suits it best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import RANGE_PARAMETERS
from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeChoice, RangeInitializer, RangeTask
from nncf_mcq.range_init.grid import Grid

_RULES: Sequence[Mapping[str, str]] = [{"type": name} for name in ("max", "percentile", "mse", "output_mse")]
"""Candidates where each channel has a range of its own."""

_RULES_OF_LAYERS = [*_RULES, {"type": "kl"}, {"type": "aciq", "distribution": "laplace"}]
"""Candidates where all channels share one, and most need one far below the largest weight of the layer."""

_SMALLEST_VARIANCE = 1e-6
"""That of a row's output, relative to the mean of all: a row of less says nothing."""


@RANGE_INITIALIZERS.register
class MixedClippingRange(RangeInitializer):
    """Runs several rules and keeps, per channel or per layer, the one that leaves the least error in the output.

    The error is that of the layer's output on the calibration images after rounding and corrections, so a rule is
    judged by what ships. Channels that share one range have errors of different units, since what follows is fitted
    to each: there the sum of the errors is that of each relative to its channel's variance. Source: Huang, Du and
    Chang, "Mixed-Clipping Quantization for Convolutional Neural Networks", J. CAD & CG 33(4), 2021, who choose the
    clipping rule by the bit-width; here the choice is measured.
    """

    class Parameters(RangeInitializer.Parameters):
        """`rules`: the candidates, names or objects with parameters; `choose_per`: what one choice is made for."""

        type: Literal["mixed_clipping"] = "mixed_clipping"
        rules: (
            list[Annotated[NamedParameters, RegisteredParameters(RANGE_PARAMETERS, exclude=["mixed_clipping"])]] | None
        ) = Field(default=None, min_length=1)
        """Candidate rules: names, or objects with parameters. null: max, percentile, mse and output_mse, and with one
        range for all channels of a layer also kl and aciq with the distribution laplace."""
        choose_per: Literal["channel", "layer"] = "channel"
        """Unit for which one rule is chosen."""

    parameters: Parameters

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.choose_per = parameters.choose_per
        self._rules = {
            per_channel: [
                RANGE_INITIALIZERS.create(rule)
                for rule in parameters.rules
                or [RANGE_INITIALIZERS[section["type"]].Parameters.model_validate(section) for section in sections]
            ]
            for per_channel, sections in ((True, _RULES), (False, _RULES_OF_LAYERS))
        }
        self.needs_fisher = any(rule.needs_fisher for rules in self._rules.values() for rule in rules)

    def rules(self, per_channel: bool) -> Sequence[RangeInitializer]:
        """The candidates, where each channel has a range of its own, or where all of a layer share one."""
        return self._rules[per_channel]

    def find_range(self, task: RangeTask) -> RangeChoice:
        """The best rule's grid for each row."""
        rules = self.rules(task.per_channel)
        grids = [rule.find_range(task).grid for rule in rules]
        stacked = Grid(
            torch.stack([grid.scale for grid in grids]),
            torch.stack([grid.zero_point for grid in grids]),
            grids[0].low,
            grids[0].high,
        )
        errors = task.output_error(stacked)
        compared = errors
        if not task.per_channel:
            compared = _relative(errors, task.output_variance)
        if not task.per_channel or self.choose_per == "layer":
            compared = compared.sum(dim=(1, 2), keepdim=True).expand_as(errors)
        best = compared.argmin(dim=0)
        scale, zero_point = (values.gather(0, best[None]).squeeze(0) for values in (stacked.scale, stacked.zero_point))
        names = _distinct([rule.parameters.type for rule in rules])
        return RangeChoice(Grid(scale, zero_point, stacked.low, stacked.high), best, names, errors)


def _relative(errors: torch.Tensor, variance: torch.Tensor | None) -> torch.Tensor:
    """(candidates, groups, rows) errors of each row relative to the variance of its output."""
    if variance is None or not bool(variance.any()):
        return errors
    return errors / variance.clamp_min(_SMALLEST_VARIANCE * float(variance.mean()))


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Names with a number where a rule stands in the list more than once, e.g. with other parameters."""
    return tuple(
        f"{name}_{names[: position + 1].count(name)}" if names.count(name) > 1 else name
        for position, name in enumerate(names)
    )
