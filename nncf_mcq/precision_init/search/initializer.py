"""What every initializer that searches with a sampler has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from pydantic import Field, PositiveInt

from nncf_mcq.costs import Constraint
from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import Budget
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.ilp import solve
from nncf_mcq.precision_init.search.repair import Repair, predicted_losses
from nncf_mcq.precision_init.search.space import GroupBits, SearchSpace
from nncf_mcq.precision_init.search.study import quiet_optuna, run_search
from nncf_mcq.precision_init.sensitivity import Sensitivities, count_sensitivity_passes, measure_sensitivities

PRECISION_PATH = "compression.initializer.precision"
"""Where a precision initializer stands in the JSON, for messages."""


@dataclass(frozen=True)
class SearchProblem:
    """What a sampler may know of the task before its first trial.

    Attributes:
        task: The model, the widths and the evaluator.
        space: The groups and their widths as parameters.
        constraints: The budget.
        sensitivities: As measured for the warm start, or None without one.
        losses: What each width of each group is expected to cost: the sensitivities, or without them the errors of the
            weight table, which are only comparable among themselves.
        start: The policy that the search starts with, or None without a warm start.
        trials: How many policies are left to score.
    """

    task: PrecisionTask
    space: SearchSpace
    constraints: Sequence[Constraint]
    sensitivities: Sensitivities | None
    losses: Sensitivities
    start: GroupBits | None
    trials: int


class SearchInitializer(PrecisionInitializer):
    """The best of the policies that a sampler proposes, each repaired to keep the budget.

    A subclass makes the sampler.
    """

    class Parameters(PrecisionInitializer.Parameters):
        """How long, and where the search starts."""

        budget: Budget
        evaluations: PositiveInt = Field(
            default=200, description="Unique policies scored in all, those of the sensitivities included."
        )
        seed: int = Field(default=0, ge=0, lt=2**32, description="Of the sampler; equal seeds find equal policies.")
        warm_start: Literal["ilp", "none"] = Field(
            default="ilp", description="ilp: measure sensitivities first and start from the policy that ilp would find."
        )
        measured_widths: PositiveInt | None = Field(
            default=3,
            description="How many of the smallest widths are scored for each layer by the warm start; null scores all.",
        )

    @abstractmethod
    def make_sampler(self, problem: SearchProblem) -> optuna.samplers.BaseSampler:
        """The sampler of the study."""

    def describe(self) -> dict[str, Any]:
        """What the report says of the sampler."""
        return {"seed": self.parameters.seed}

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Searches with the sampler of the parameters.

        Raises:
            BudgetError: No policy meets the budget.
            ConfigError: The sensitivities alone take all evaluations.
        """
        parameters = self.parameters
        constraints = task.costs.constraints(parameters.budget, task.bits)
        space = SearchSpace(tuple(task.quantizable.groups), tuple(sorted(task.bits)))
        sensitivities = self._sensitivities(task)
        start = None if sensitivities is None else solve(sensitivities, constraints)
        losses = predicted_losses(task, sensitivities)
        repair = Repair(space, constraints, losses)
        trials = parameters.evaluations - task.evaluator.evaluations
        problem = SearchProblem(task, space, constraints, sensitivities, losses, start, trials)
        with quiet_optuna():
            study = optuna.create_study(sampler=self.make_sampler(problem))
            if start is not None:
                study.enqueue_trial(space.parameters(start))
            outcome = run_search(task, study, space, repair, evaluations=parameters.evaluations, seed=parameters.seed)
        assert outcome.best is not None
        details = self.describe()
        details["warm_start_score"] = None if start is None else study.get_trials(deepcopy=False)[0].value
        return PrecisionResult(outcome.best, details | outcome.to_dict())

    def _sensitivities(self, task: PrecisionTask) -> Sensitivities | None:
        parameters = self.parameters
        if parameters.warm_start == "none":
            return None
        passes = count_sensitivity_passes(task, parameters.measured_widths)
        if parameters.evaluations <= passes:
            raise ConfigError(
                f"{PRECISION_PATH}.evaluations",
                parameters.evaluations,
                f"at least {passes + 1}, since the sensitivities of {len(task.quantizable.groups)} groups take "
                f'{passes}; fewer with a smaller measured_widths, none with "warm_start": "none"',
            )
        return measure_sensitivities(task, parameters.measured_widths)
