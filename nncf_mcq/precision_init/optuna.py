"""Search with Optuna's samplers."""

from __future__ import annotations

from typing import Any, Literal

import optuna
from pydantic import Field, PositiveInt

from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import Budget
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.ilp import solve
from nncf_mcq.precision_init.search import Repair, SearchSpace, predicted_losses, quiet_optuna, run_search
from nncf_mcq.precision_init.search.samplers import SamplerName, make_sampler
from nncf_mcq.precision_init.sensitivity import Sensitivities, count_sensitivity_passes, measure_sensitivities
from nncf_mcq.registry import PRECISION_INITIALIZERS

_PATH = "compression.initializer.precision"


@PRECISION_INITIALIZERS.register
class OptunaPrecision(PrecisionInitializer):
    """The best of the policies that an Optuna sampler proposes, each repaired to keep the budget.

    Source: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019; those of the
    samplers are named at `make_sampler`.
    """

    class Parameters(PrecisionInitializer.Parameters):
        """Which sampler, how long, and where it starts."""

        type: Literal["optuna"] = "optuna"
        budget: Budget
        sampler: SamplerName = Field(default="tpe", description="Optuna's sampler; cmaes is CMA-ES with margin.")
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

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Searches with the sampler of the parameters.

        Raises:
            BudgetError: No policy meets the budget.
            ConfigError: The sensitivities alone take all evaluations, or CMA-ES has a single group to search over.
        """
        parameters = self.parameters
        constraints = task.costs.constraints(parameters.budget, task.bits)
        if parameters.sampler == "cmaes" and len(task.quantizable.groups) == 1:
            raise ConfigError(f"{_PATH}.sampler", "cmaes", "any other sampler, since there is a single group of layers")
        space = SearchSpace(tuple(task.quantizable.groups), tuple(sorted(task.bits)))
        sensitivities = self._sensitivities(task)
        start = None if sensitivities is None else space.parameters(solve(sensitivities, constraints))
        repair = Repair(space, constraints, predicted_losses(task, sensitivities))
        with quiet_optuna():
            trials = parameters.evaluations - task.evaluator.evaluations
            study = optuna.create_study(sampler=make_sampler(parameters.sampler, parameters.seed, trials, start))
            if start is not None:
                study.enqueue_trial(start)
            outcome = run_search(task, study, space, repair, evaluations=parameters.evaluations, seed=parameters.seed)
        assert outcome.best is not None
        details: dict[str, Any] = {"sampler": parameters.sampler, "seed": parameters.seed}
        details["warm_start_score"] = None if start is None else study.get_trials(deepcopy=False)[0].value
        return PrecisionResult(outcome.best, details | outcome.to_dict())

    def _sensitivities(self, task: PrecisionTask) -> Sensitivities | None:
        parameters = self.parameters
        if parameters.warm_start == "none":
            return None
        passes = count_sensitivity_passes(task, parameters.measured_widths)
        if parameters.evaluations <= passes:
            raise ConfigError(
                f"{_PATH}.evaluations",
                parameters.evaluations,
                f"at least {passes + 1}, since the sensitivities of {len(task.quantizable.groups)} groups take "
                f'{passes}; fewer with a smaller measured_widths, none with "warm_start": "none"',
            )
        return measure_sensitivities(task, parameters.measured_widths)
