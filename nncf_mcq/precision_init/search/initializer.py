"""Base of the initializers that search with a sampler."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import optuna
from optuna.trial import TrialState
from pydantic import Field, PositiveFloat, PositiveInt

from nncf_mcq.config.budget import BudgetedParameters
from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.errors import ConfigError
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.ilp import solve
from nncf_mcq.precision_init.search.processes import mixed_seed, settle_trials
from nncf_mcq.precision_init.search.repair import Repair, predicted_losses
from nncf_mcq.precision_init.search.selection import select_policy
from nncf_mcq.precision_init.search.space import GroupBits, SearchSpace
from nncf_mcq.precision_init.search.study import run_search
from nncf_mcq.precision_init.sensitivity import (
    affordable_widths,
    count_sensitivity_passes,
    measure_sensitivities,
    to_dict,
)
from nncf_mcq.precision_init.shrinkage import Sensitivities
from nncf_mcq.precision_init.study import quiet_optuna
from nncf_mcq.precision_init.study.claims import process_number
from nncf_mcq.utils.interrupts import uninterrupted
from nncf_mcq.utils.json_values import JsonObject


@dataclass(frozen=True)
class SearchProblem:
    """Problem of a sampler: all that it may know of the task before its first trial.

    Attributes:
        task: The model, the widths and the evaluator.
        space: The groups and their widths as parameters.
        constraints: The budget.
        sensitivities: As measured for the warm start, or None without one.
        losses: What each width of each group is expected to cost: the sensitivities, or without them the errors of the
            weight table, which are only comparable among themselves.
        start: The policy that the search starts with, or None without a warm start.
        trials: How many policies were left to score after the sensitivities, when the search began.
        seed: Of the sampler: the configured one, but another for each worker, and for a search that is resumed with a
            sampler of its own state, which would otherwise repeat the proposals that it began with.
    """

    task: PrecisionTask
    space: SearchSpace
    constraints: Sequence[Constraint]
    sensitivities: Sensitivities | None
    losses: Sensitivities
    start: GroupBits | None
    trials: int
    seed: int = 0


class SearchInitializer(PrecisionInitializer):
    """The best of the policies that a sampler proposes, each repaired to keep the budget.

    The warm start, where there is one, is left only for a policy that is better by a paired test, see `select_policy`.
    A subclass makes the sampler.
    """

    class Parameters(BudgetedParameters):
        """How long, and where the search starts."""

        evaluations: PositiveInt = Field(
            default=200, description="Number of unique policies scored in total, including those of the sensitivities."
        )
        may_change: ClassVar[frozenset[str]] = frozenset({"evaluations", "patience", "time_limit"})

        seed: int = Field(default=0, ge=0, lt=2**32, description="Random seed; equal seeds find equal policies.")
        warm_start: Literal["ilp", "none"] = Field(
            default="ilp",
            description="Start. ilp: measure sensitivities first and start from the policy that ilp would find.",
        )
        measured_widths: PositiveInt | None = Field(
            default=2,
            description="Number of the smallest bit-widths scored for each layer by the warm start, fewer where they "
            "would take all evaluations; null scores all. The search learns about the others.",
        )
        patience: PositiveInt | None = Field(
            default=None,
            description="Number of trials without a gain of half a percent after which the search ends; null: it uses "
            "all evaluations.",
        )
        time_limit: PositiveFloat | None = Field(
            default=None,
            description="Seconds after which the search ends with the best policy so far, sensitivities included; "
            "null: no limit.",
        )

    parameters: Parameters

    @property
    def patience(self) -> int | None:
        """Trials without a gain after which the search ends; None for no such end."""
        return self.parameters.patience

    resumes_exactly: ClassVar[bool] = False
    """Whether the sampler is a function of the trials and the seed: whatever is killed, it finds the same policy."""

    @abstractmethod
    def make_sampler(self, problem: SearchProblem) -> optuna.samplers.BaseSampler:
        """The sampler of the study."""

    def describe(self) -> JsonObject:
        """JSON values of the sampler for the report."""
        return {"seed": self.parameters.seed}

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Searches with the sampler of the parameters.

        Raises:
            BudgetError: No policy meets the budget.
            ConfigError: The sensitivities alone take all evaluations.
        """
        parameters = self.parameters
        end = math.inf if parameters.time_limit is None else time.monotonic() + parameters.time_limit
        constraints = task.costs.constraints(parameters.budget, task.choices)
        space = SearchSpace(task.choices)
        with quiet_optuna():
            study = self._open_study(task)
            sensitivities, spent = self._sensitivities(task, lambda: time.monotonic() > end)
            start = None if sensitivities is None else solve(sensitivities, constraints)
            losses = predicted_losses(task, sensitivities)
            repair = Repair(space, constraints, losses)
            seed = self._seed(task, study)
            problem = SearchProblem(
                task, space, constraints, sensitivities, losses, start, parameters.evaluations - spent, seed
            )
            study.sampler = self.make_sampler(problem)
            if start is not None and (task.stored is None or task.stored.mode != "join"):
                with uninterrupted():
                    self._enqueue(study, task, space, start)
            outcome = run_search(
                task,
                study,
                space,
                repair,
                evaluations=parameters.evaluations,
                seed=seed,
                patience=self.patience,
                is_over=lambda: time.monotonic() > end,
                measured=spent,
            )
        assert outcome.best is not None
        details = self.describe()
        start_score = None if start is None else task.evaluator.known_score(task.policy(start))
        details["warm_start_score"] = None if start_score is None or math.isnan(start_score) else start_score
        if sensitivities is not None:
            details["sensitivities"] = to_dict(sensitivities)
        start_policy = None if start is None else task.policy(start)
        trials = len(outcome.study.get_trials(deepcopy=False))
        selection = select_policy(task, outcome.best, start_policy, trials)
        details |= outcome.to_dict() | selection.to_dict()
        return PrecisionResult(selection.policy, details, ended_by=outcome.ended_by)

    @staticmethod
    def _open_study(task: PrecisionTask) -> optuna.Study:
        """The study, without trials of processes that are no more; it has no sampler of ours yet."""
        if task.stored is None:
            return optuna.create_study()
        with uninterrupted():
            study = task.stored.study()
            if task.stored.mode == "resume":
                settle_trials(study, task)
        return study

    def _seed(self, task: PrecisionTask, study: optuna.Study) -> int:
        """A function of the configured seed and the finished trials; of the process too for a worker.

        A sampler that draws from nothing but the trials and the seed keeps the seed: it goes on as if undisturbed.
        """
        seed = self.parameters.seed
        finished = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        if task.stored is not None and task.stored.mode == "join":
            return mixed_seed(seed, finished, process_number())
        return seed if finished == 0 or self.resumes_exactly else mixed_seed(seed, finished)

    @staticmethod
    def _enqueue(study: optuna.Study, task: PrecisionTask, space: SearchSpace, start: GroupBits) -> None:
        """Makes the warm start the first trial, once a study."""
        score = task.evaluator.known_score(task.policy(start))
        parameters = space.parameters(start)
        states = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        for trial in study.get_trials(deepcopy=False, states=states):
            if trial.system_attrs.get("fixed_params", trial.params) == parameters:
                return
        # One that has no number for a score would fail again each time that the search is resumed.
        if score is None or not math.isnan(score):
            study.enqueue_trial(parameters)

    def _sensitivities(self, task: PrecisionTask, is_over: Callable[[], bool]) -> tuple[Sensitivities | None, int]:
        """The sensitivities, and how many policies they take."""
        parameters = self.parameters
        if parameters.warm_start == "none":
            return None, 0
        widths = affordable_widths(task, parameters.measured_widths, parameters.evaluations)
        passes = count_sensitivity_passes(task, widths)
        if parameters.evaluations <= passes:
            raise ConfigError(
                f"{PRECISION_PATH}.evaluations",
                parameters.evaluations,
                f"at least {passes + 1}, since the sensitivities of {len(task.choices)} groups take "
                f'{passes}; none with "warm_start": "none"',
            )
        return measure_sensitivities(task, widths, is_over), passes
