"""The loop around an Optuna study: ask, suggest, repair, score, tell."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.trial import TrialState

from nncf_mcq.config.search_report import SearchEnd
from nncf_mcq.errors import QuantizationError
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.search.processes import (
    NO_NUMBER_ATTRIBUTE,
    POLICY_ATTRIBUTE,
    PROCESS_ATTRIBUTE,
    REPEATED_ATTRIBUTE,
    repeats_in_a_row,
    trials_of,
)
from nncf_mcq.precision_init.search.repair import Repair
from nncf_mcq.precision_init.search.space import GroupBits, SearchSpace
from nncf_mcq.precision_init.study.claims import this_process
from nncf_mcq.utils.interrupts import uninterrupted
from nncf_mcq.utils.json_values import JsonObject
from nncf_mcq.utils.torch_threads import one_torch_thread

__all__ = ["NEGLIGIBLE", "POLICY_ATTRIBUTE", "REPEATS_IN_A_ROW", "SearchOutcome", "run_search", "trials_without_gain"]

REPEATS_IN_A_ROW = 3
"""So many proposals that repeat a scored policy are told their known score; then a random policy takes the turn."""

NEGLIGIBLE = 0.005
"""Share of the best score: less is within the error of any score."""

_logger = logging.getLogger(__name__)


@dataclass
class SearchOutcome:
    """Outcome of a search, and how it came about.

    Attributes:
        study: Every trial, with the scored policy in the user attribute `POLICY_ATTRIBUTE`.
        best: The best policy of those that were scored and keep every limit, by whichever stage or process.
        score: Its score.
        curve: (evaluations so far, best score so far) at the first such policy and whenever the score fell.
        repeated: Proposals of this process whose policy had a score already.
        repaired: Proposals of this process that exceeded a limit.
        random: Random policies taken by this process because the sampler repeated itself.
        ended_early: Whether it ended for lack of progress.
        out_of_time: Whether its time limit ended it.
        interrupted: Whether Ctrl-C or SIGTERM ended the search.
        sampler_seconds: Time spent in ask, suggest and tell.
        scoring_seconds: Time spent in the evaluator.
    """

    study: optuna.Study
    best: Policy | None = None
    score: float = math.inf
    curve: list[tuple[int, float]] = field(default_factory=list)
    repeated: int = 0
    repaired: int = 0
    random: int = 0
    ended_early: bool = False
    out_of_time: bool = False
    interrupted: bool = False
    sampler_seconds: float = 0.0
    scoring_seconds: float = 0.0

    @property
    def ended_by(self) -> SearchEnd | None:
        """What ended it before it was through."""
        return "interrupted" if self.interrupted else "time_limit" if self.out_of_time else None

    def to_dict(self) -> JsonObject:
        """JSON values for the report."""
        return {
            "trials": len(self.study.get_trials(deepcopy=False)),
            "repeated": self.repeated,
            "repaired": self.repaired,
            "random": self.random,
            "ended_early": self.ended_early,
            "out_of_time": self.out_of_time,
            "interrupted": self.interrupted,
            "curve": [[evaluations, score] for evaluations, score in self.curve],
            "seconds": {"sampler": round(self.sampler_seconds, 3), "scoring": round(self.scoring_seconds, 3)},
        }


def run_search(
    task: PrecisionTask,
    study: optuna.Study,
    space: SearchSpace,
    repair: Repair,
    *,
    evaluations: int,
    seed: int,
    patience: int | None = None,
    is_over: Callable[[], bool] = lambda: False,
    measured: int = 0,
) -> SearchOutcome:
    """Searches until the evaluator has scored so many unique policies, or no feasible policy is left.

    A trial keeps the parameters that the sampler proposed and is told the score of the repaired policy: samplers such
    as CMA-ES learn from their own proposals only. Trials that are enqueued in the study are scored first.

    Args:
        task: The model and the evaluator; what it has scored so far counts.
        study: Minimizes; its sampler may be any.
        space: The parameters.
        repair: Makes proposals feasible.
        evaluations: Unique scored policies at which the search ends.
        seed: Of the random policies that take a sampler's turn.
        patience: Trials without a gain that counts after which the search ends, see `trials_without_gain`; None for no
            such end.
        is_over: Whether the time for it is over; asked after each policy, of which at least one is scored.
        measured: How many policies were scored before, for the sensitivities.

    Raises:
        KeyboardInterrupt: Ctrl-C, and nothing feasible was scored yet; later Ctrl-C returns what was found.
        QuantizationError: No policy had a finite score.
    """
    search = _Search(task, study, space, repair, seed, measured)
    try:
        # Samplers that use PyTorch do many small operations.
        with one_torch_thread():
            search.run(evaluations, patience, is_over)
    except KeyboardInterrupt:
        search.take_scores()
        if search.outcome.best is None:
            raise
        search.outcome.interrupted = True
        _logger.warning(
            "search interrupted after %d of %d evaluations: the best policy so far is used",
            task.evaluator.evaluations,
            evaluations,
        )
    if search.outcome.best is None:
        raise QuantizationError("no policy of the search has a finite score")
    return search.outcome


def trials_without_gain(study: optuna.Study) -> int:
    """Finished trials since the best score last fell by `NEGLIGIBLE` of itself: a function of the trials alone."""
    best, since = math.inf, 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.value is not None and trial.value < best - NEGLIGIBLE * abs(best if math.isfinite(best) else 0.0):
            best, since = trial.value, 0
        else:
            since += 1
    return since


class _Search:
    def __init__(
        self, task: PrecisionTask, study: optuna.Study, space: SearchSpace, repair: Repair, seed: int, measured: int
    ) -> None:
        self._task = task
        self._space = space
        self._repair = repair
        self._seed = seed
        self._without_trial = self._scored_without_trial(study, measured)
        self._looked_at = 0
        self.outcome = SearchOutcome(study)

    def run(self, evaluations: int, patience: int | None, is_over: Callable[[], bool]) -> None:
        evaluator = self._task.evaluator
        self.take_scores()
        while evaluator.evaluations < evaluations:
            if self.outcome.best is not None and is_over():
                self.outcome.out_of_time = True
                return
            if patience is not None and trials_without_gain(self.outcome.study) >= patience:
                self.outcome.ended_early = True
                return
            # Told by the trials alone: a search that is resumed goes on as it would have.
            if repeats_in_a_row(self.outcome.study) < REPEATS_IN_A_ROW:
                self._proposed_trial()
            elif not self._random_trial():
                return
            self.take_scores()
            self._task.progress(evaluator.evaluations, evaluations)

    def _proposed_trial(self) -> None:
        """Scores what the sampler proposes."""
        study = self.outcome.study
        start = time.perf_counter()
        with uninterrupted():
            trial = study.ask()
        choice: GroupBits | None = None
        try:
            with uninterrupted():
                choice = self._choose(trial)
            self.outcome.sampler_seconds += time.perf_counter() - start
            score = self._score(choice)
        except BaseException:
            # A trial left running would be taken for another worker's.
            with uninterrupted():
                self._tell(
                    trial, None if choice is None else self._task.evaluator.known_score(self._task.policy(choice))
                )
            raise
        start = time.perf_counter()
        with uninterrupted():
            self._tell(trial, score)
        self.outcome.sampler_seconds += time.perf_counter() - start

    def _tell(self, trial: optuna.Trial, score: float | None) -> None:
        """Ends a trial; without a score, as if it had never been begun."""
        if score is not None and math.isnan(score):
            trial.set_user_attr(NO_NUMBER_ATTRIBUTE, True)
        is_number = score is not None and not math.isnan(score)
        state = None if is_number else TrialState.FAIL
        self.outcome.study.tell(trial, score if is_number else None, state, skip_if_finished=True)

    def _choose(self, trial: optuna.Trial) -> GroupBits:
        """The sampler's proposal, repaired."""
        if self._task.stored is not None:
            trial.set_user_attr(PROCESS_ATTRIBUTE, this_process())
        # Optuna does not ask the sampler about an enqueued trial, but NSGA-II counts those that it was asked about.
        _ = trial.relative_params
        proposal = self._space.suggest(trial)
        choice = self._repair(proposal)
        self.outcome.repaired += choice != proposal
        self._task.evaluator.refresh()
        if self._task.evaluator.is_scored(self._task.policy(choice)):
            self.outcome.repeated += 1
            trial.set_user_attr(REPEATED_ATTRIBUTE, True)
        # Before the score: should the process die in between, whoever resumes the search can tell it.
        trial.set_user_attr(POLICY_ATTRIBUTE, choice)
        return choice

    def _random_trial(self) -> bool:
        """Scores a random policy that has no score; whether there was one."""
        task = self._task
        random = np.random.default_rng([self._seed, len(trials_of(self.outcome.study))])

        def is_new(found: GroupBits) -> bool:
            policy = task.policy(found)
            return policy.key in self._without_trial or not task.evaluator.is_scored(policy)

        choice = self._space.random_choice(random, self._repair.constraints, is_new)
        if choice is None:
            return False
        self._without_trial.discard(task.policy(choice).key)
        self.outcome.random += 1
        score = self._score(choice)
        if not math.isnan(score):
            trial = optuna.trial.create_trial(
                params=self._space.parameters(choice),
                distributions=self._space.distributions,
                value=score,
                user_attrs={POLICY_ATTRIBUTE: choice},
            )
            # Added, not asked for: a proposal of CMA-ES or a genetic sampler must not be answered with another's score.
            with uninterrupted():
                self.outcome.study.add_trial(trial)
        return True

    def _scored_without_trial(self, study: optuna.Study, measured: int) -> set[PolicyKey]:
        """Policies of which a process was killed between their score and their trial: random ones."""
        task = self._task
        if task.stored is None or task.stored.mode != "resume":
            return set()
        policies = (trial.user_attrs.get(POLICY_ATTRIBUTE) for trial in study.get_trials(deepcopy=False))
        told = {
            task.policy(policy).key
            for policy in policies
            if isinstance(policy, dict) and set(policy) == set(task.choices)
        }
        return {key for key, _ in task.evaluator.scores_from(measured)} - told

    def _score(self, choice: GroupBits) -> float:
        start = time.perf_counter()
        score = self._task.evaluator.score(self._task.policy(choice))
        self.outcome.scoring_seconds += time.perf_counter() - start
        return score

    def take_scores(self) -> None:
        """Looks through what was scored since the last time, by this process or by others, for a better policy."""
        self._task.evaluator.refresh()
        for key, score in self._task.evaluator.scores_from(self._looked_at):
            self._looked_at += 1
            if score < self.outcome.score:
                policy = self._feasible(key)
                if policy is not None:
                    self.outcome.best, self.outcome.score = policy, score
                    self.outcome.curve.append((self._looked_at, score))

    def _feasible(self, key: PolicyKey) -> Policy | None:
        """The policy, if it is one of the space that keeps every limit."""
        choice = self._task.group_bits(key)
        return self._task.policy(choice) if choice is not None and self._repair.is_feasible(choice) else None
