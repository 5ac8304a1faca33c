"""What the initializers that look at each group alone have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from pydantic import Field, PositiveInt

from nncf_mcq.costs import Constraint
from nncf_mcq.policy import Budget
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.sensitivity import Sensitivities, measure_sensitivities


class SeparablePrecision(PrecisionInitializer):
    """Measures the sensitivity of each group and chooses by their sum, which is the predicted score."""

    class Parameters(PrecisionInitializer.Parameters):
        """`budget`: the limits that the policy must keep; `measured_widths`: see `measure_sensitivities`."""

        budget: Budget
        measured_widths: PositiveInt | None = Field(
            default=3, description="How many of the smallest widths are scored for each layer; null scores all."
        )

    @abstractmethod
    def choose(
        self, task: PrecisionTask, sensitivities: Sensitivities, constraints: Sequence[Constraint]
    ) -> Mapping[str, int]:
        """The bits of each group.

        Raises:
            BudgetError: No choice keeps all limits together.
        """

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Measures the sensitivities and chooses."""
        constraints = task.costs.constraints(self.parameters.budget, task.choices)
        sensitivities = measure_sensitivities(task, self.parameters.measured_widths)
        choice = self.choose(task, sensitivities, constraints)
        details = {
            "sensitivities": {group: {str(b): s for b, s in values.items()} for group, values in sensitivities.items()},
            "predicted_score": sum(sensitivities[group][bits] for group, bits in choice.items()),
        }
        return PrecisionResult(task.policy(choice), details)
