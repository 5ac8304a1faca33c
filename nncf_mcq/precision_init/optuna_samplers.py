"""Search with Optuna's samplers."""

from __future__ import annotations

from typing import Literal

import optuna
from pydantic import Field

from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.errors import ConfigError
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.search import SearchInitializer, SearchProblem
from nncf_mcq.precision_init.search.samplers import SamplerName, make_sampler
from nncf_mcq.utils.json_values import JsonObject


@PRECISION_INITIALIZERS.register
class OptunaPrecision(SearchInitializer):
    """The best of the policies that an Optuna sampler proposes, each repaired to keep the budget.

    Source: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019; those of the
    samplers are named at `make_sampler`.
    """

    class Parameters(SearchInitializer.Parameters):
        """Which sampler, and what `SearchInitializer` takes."""

        type: Literal["optuna"] = "optuna"
        sampler: SamplerName = Field(default="tpe", description="Optuna's sampler; cmaes is CMA-ES with margin.")

    parameters: Parameters

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Searches with the sampler of the parameters.

        Raises:
            BudgetError: No policy meets the budget.
            ConfigError: The sensitivities alone take all evaluations, or CMA-ES has a single group to search over.
        """
        if self.parameters.sampler == "cmaes" and len(task.choices) == 1:
            # An infeasible budget is the graver mistake.
            task.costs.constraints(self.parameters.budget, task.choices)
            message = "any other sampler, since there is a single group"
            raise ConfigError(f"{PRECISION_PATH}.sampler", "cmaes", message)
        return super().find_policy(task)

    def make_sampler(self, problem: SearchProblem) -> optuna.samplers.BaseSampler:
        """The sampler by its name."""
        start = None if problem.start is None else problem.space.parameters(problem.start)
        # The sequence of quasi-random points goes on where it was left: its position is kept in the study.
        seed = self.parameters.seed if self.parameters.sampler == "qmc" else problem.seed
        return make_sampler(self.parameters.sampler, seed, problem.trials, start)

    def describe(self) -> JsonObject:
        """Name and seed of the sampler."""
        return {"sampler": self.parameters.sampler, **super().describe()}
