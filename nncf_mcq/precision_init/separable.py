"""Base of the initializers that look at each group alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, PositiveInt

from nncf_mcq.config.budget import BudgetOrGoalParameters
from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.config.search_report import SearchEnd
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.layers import ACTIVATION_PREFIX
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.costs import Constraint, CostModel
from nncf_mcq.precision_init.goal import SmallestChoice, find_quantity, smallest_choice
from nncf_mcq.precision_init.sensitivity import measure_sensitivities, to_dict
from nncf_mcq.precision_init.shrinkage import Sensitivities


class SeparablePrecision(PrecisionInitializer):
    """Finds the sensitivity of each group and chooses by their sum, which is the predicted score."""

    class Parameters(BudgetOrGoalParameters):
        """`budget` or `goal`: what the policy must keep; `measured_widths`: see `measure_sensitivities`."""

        sensitivity: Literal["measured", "fisher", "hessian_trace"] = Field(
            default="measured",
            description="Source of the sensitivities. measured: the score with one group of layers at a low bit-width. "
            "hessian_trace: the mean of the layer's Hessian diagonal times the squared change of its weights, as in "
            "HAWQ-V2. fisher: the same with the diagonal itself. Both need backward passes and score nothing.",
        )
        measured_widths: PositiveInt | None = Field(
            default=3, description="Number of the smallest bit-widths scored for each layer; null scores all."
        )

    parameters: Parameters

    @abstractmethod
    def choose(
        self, task: PrecisionTask, sensitivities: Sensitivities, constraints: Sequence[Constraint]
    ) -> Mapping[str, int]:
        """The bits of each group.

        Raises:
            BudgetError: No choice keeps all limits together.
        """

    def check(self, costs: CostModel, choices: Mapping[str, tuple[int, ...]]) -> None:
        """As in the base class; sensitivities of second order are those of weights."""
        super().check(costs, choices)
        kind = self.parameters.sensitivity
        if kind != "measured" and any(group.startswith(ACTIVATION_PREFIX) for group in choices):
            allowed = "measured, where the activations have several widths to choose from"
            raise ConfigError(f"{PRECISION_PATH}.sensitivity", kind, allowed)
        if kind != "measured" and any(FLOAT_CHOICE in widths for widths in choices.values()):
            allowed = "measured with a latency budget: a layer in floating point also has a float input"
            raise ConfigError(f"{PRECISION_PATH}.sensitivity", kind, allowed)

    def sensitivities(self, task: PrecisionTask) -> Sensitivities:
        """Group and width to what it adds to the score: measured, or of second order."""
        if self.parameters.sensitivity == "measured":
            return measure_sensitivities(task, self.parameters.measured_widths)
        assert task.second_order is not None
        found = task.second_order(self.parameters.sensitivity, task.progress)
        # The table may hold more widths than there are to choose from.
        return {group: {bits: found[group][bits] for bits in widths} for group, widths in task.choices.items()}

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Measures the sensitivities and chooses: once for a budget, for a goal at several sizes."""
        budget, aim = self.parameters.budget, self.parameters.aim
        # Before the sensitivities: what can be told in no time should not cost a search.
        quantity = None if aim is None else find_quantity(aim, task.evaluator.folds, task.recognize_outputs)
        constraints = [] if budget is None else task.costs.constraints(budget, task.choices)
        sensitivities = self.sensitivities(task)
        goal: SmallestChoice | None = None
        if quantity is None:
            choice = self.choose(task, sensitivities, constraints)
        else:
            goal = smallest_choice(
                task, quantity, lambda average_bits: self.choose(task, sensitivities, [average_bits])
            )
            choice = goal.bits
        details = {
            "sensitivities": to_dict(sensitivities),
            "predicted_score": sum(sensitivities[group][bits] for group, bits in choice.items()),
        }
        widest = task.policy(task.widest_quantized)
        if task.evaluator.is_scored(widest):
            details["widest_score"] = task.evaluator.score(widest)
        if goal is None:
            return PrecisionResult(task.policy(choice), details)
        ended_by: SearchEnd | None = "interrupted" if goal.interrupted else None
        return PrecisionResult(task.policy(choice), details, goal.report, ended_by)
