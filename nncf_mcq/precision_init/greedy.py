"""Widths lowered one after the other by their sensitivity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from nncf_mcq.policy import Budget
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.search import Repair, SearchSpace
from nncf_mcq.precision_init.sensitivity import measure_sensitivities
from nncf_mcq.registry import PRECISION_INITIALIZERS


@PRECISION_INITIALIZERS.register
class GreedyPrecision(PrecisionInitializer):
    """Lowers widths from the largest ones on, least sensitivity per saved cost first, until the budget is kept.

    Source: Pandey et al., "A Practical Mixed Precision Algorithm for Post-Training Quantization", 2023
    (arXiv:2302.05397): a list of sensitivities measured one at a time, then a greedy descent from the largest
    precision. How a step is chosen, and that the last ones may be taken back, is said at `Repair`.
    """

    class Parameters(PrecisionInitializer.Parameters):
        """`budget`: the limits that the policy must keep; `measured_widths`: see `measure_sensitivities`."""

        type: Literal["greedy"] = "greedy"
        budget: Budget
        measured_widths: PositiveInt | None = Field(
            default=3, description="How many of the smallest widths are scored for each layer; null scores all."
        )

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Measures the sensitivities and lowers the widths."""
        constraints = task.costs.constraints(self.parameters.budget, task.choices)
        space = SearchSpace(task.choices)
        sensitivities = measure_sensitivities(task, self.parameters.measured_widths)
        choice = Repair(space, constraints, sensitivities)(task.widest)
        details = {
            "sensitivities": {group: {str(b): s for b, s in values.items()} for group, values in sensitivities.items()},
            "predicted_score": sum(sensitivities[group][bits] for group, bits in choice.items()),
        }
        return PrecisionResult(task.policy(choice), details)
