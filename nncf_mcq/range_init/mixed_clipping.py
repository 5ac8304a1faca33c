"""Mixed clipping: for each layer and width, and each channel, the rule that suits it best."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import RANGE_PARAMETERS
from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeChoice, RangeInitializer, RangeTask
from nncf_mcq.range_init.grid import Grid


@RANGE_INITIALIZERS.register
class MixedClippingRange(RangeInitializer):
    """Runs several rules and keeps, per channel or per layer, the one that leaves the least error in the output.

    The error is that of the layer's output on the calibration images after rounding and corrections, so a rule is
    judged by what ships. Source: Huang, Du and Chang, "Mixed-Clipping Quantization for Convolutional Neural Networks",
    J. CAD & CG 33(4), 2021, who choose the clipping rule by the bit-width; here the choice is measured.
    """

    class Parameters(RangeInitializer.Parameters):
        """`rules`: the candidates, names or objects with parameters; `choose_per`: what one choice is made for."""

        type: Literal["mixed_clipping"] = "mixed_clipping"
        rules: list[Annotated[NamedParameters, RegisteredParameters(RANGE_PARAMETERS, exclude=["mixed_clipping"])]] = (
            Field(default=["max", "percentile", "mse", "output_mse"], min_length=1, validate_default=True)
        )
        """Candidate rules: names, or objects with parameters."""
        choose_per: Literal["channel", "layer"] = "channel"
        """Unit for which one rule is chosen."""

    parameters: Parameters

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.choose_per = parameters.choose_per
        self.rules = [RANGE_INITIALIZERS.create(rule) for rule in parameters.rules]
        self.needs_fisher = any(rule.needs_fisher for rule in self.rules)

    def find_range(self, task: RangeTask) -> RangeChoice:
        """The best rule's grid for each row."""
        grids = [rule.find_range(task).grid for rule in self.rules]
        stacked = Grid(
            torch.stack([grid.scale for grid in grids]),
            torch.stack([grid.zero_point for grid in grids]),
            grids[0].low,
            grids[0].high,
        )
        errors = task.output_error(stacked)
        compared = errors
        if not task.per_channel or self.choose_per == "layer":
            compared = errors.sum(dim=(1, 2), keepdim=True).expand_as(errors)
        best = compared.argmin(dim=0)
        scale, zero_point = (values.gather(0, best[None]).squeeze(0) for values in (stacked.scale, stacked.zero_point))
        names = _distinct([rule.parameters.type for rule in self.rules])
        return RangeChoice(Grid(scale, zero_point, stacked.low, stacked.high), best, names, errors)


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Names with a number where a rule stands in the list more than once, e.g. with other parameters."""
    return tuple(
        f"{name}_{names[: position + 1].count(name)}" if names.count(name) > 1 else name
        for position, name in enumerate(names)
    )
