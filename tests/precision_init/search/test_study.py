from __future__ import annotations

import itertools
import logging
import math
import warnings
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.trial import TrialState

from nncf_mcq import QuantizationError
from nncf_mcq.config.budget import Budget
from nncf_mcq.metrics.scores import ImageScore
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.search import (
    Repair,
    SearchOutcome,
    SearchSpace,
    predicted_losses,
    quiet_optuna,
    run_search,
)
from nncf_mcq.precision_init.search.study import REPEATS_IN_A_ROW
from tests.models import TABLE_BITS, called_once, make_task

Array = NDArray[np.float32]


class Always(optuna.samplers.RandomSampler):
    """Proposes the same parameters again and again."""

    def __init__(self, index: int) -> None:
        super().__init__(seed=0)
        self._index = index

    def sample_independent(self, *_: Any) -> int:
        return self._index


def search(
    task: PrecisionTask,
    evaluations: int,
    sampler: optuna.samplers.BaseSampler | None = None,
    average_bits: float = 4.0,
    enqueue: list[dict[str, int]] | None = None,
) -> SearchOutcome:
    budget = Budget.model_validate({"weight_size": {"average_bits": average_bits}})
    constraints = task.costs.constraints(budget, task.choices)
    space = SearchSpace(task.choices)
    with quiet_optuna():
        study = optuna.create_study(sampler=sampler or optuna.samplers.RandomSampler(seed=0))
        for choice in enqueue or []:
            study.enqueue_trial(space.parameters(choice))
        repair = Repair(space, constraints, predicted_losses(task))
        return run_search(task, study, space, repair, evaluations=evaluations, seed=0)


def feasible_policies(task: PrecisionTask, average_bits: float) -> int:
    budget = Budget.model_validate({"weight_size": {"average_bits": average_bits}})
    constraints: list[Constraint] = task.costs.constraints(budget, task.choices)
    groups = list(task.quantizable.groups)
    choices = (dict(zip(groups, c, strict=True)) for c in itertools.product(*task.choices.values()))
    return sum(all(constraint.is_met(choice) for constraint in constraints) for choice in choices)


def counting() -> ImageScore:
    """Every policy scores better than the one before."""
    calls = itertools.count()
    return called_once(lambda outputs, reference: 100.0 - next(calls))


def test_the_best_trial_is_found_and_trials_hold_the_scored_policies() -> None:
    task = make_task()
    outcome = search(task, 12)
    trials = outcome.study.get_trials(deepcopy=False)
    assert task.evaluator.evaluations == 12
    for trial in trials:
        assert trial.value == task.evaluator.score(task.policy(trial.user_attrs["policy"]))
    assert task.evaluator.evaluations == 12
    assert outcome.best is not None
    assert (
        outcome.score
        == min(trial.value for trial in trials if trial.value is not None)
        == task.evaluator.score(outcome.best)
    )
    assert outcome.repaired > 0
    assert len(trials) == 12 + outcome.repeated


def test_the_curve_falls_and_ends_at_the_best_score() -> None:
    outcome = search(make_task(score=counting()), 6)
    assert outcome.curve == [(count, 101.0 - count) for count in range(1, 7)]


def test_what_was_scored_before_counts() -> None:
    task = make_task(score=counting())
    for bits in TABLE_BITS:
        task.evaluator.score(task.policy(dict.fromkeys(task.quantizable.groups, bits)))
    search(task, 5)
    assert task.evaluator.evaluations == 5


def test_repeats_are_told_their_score_uncounted_until_a_random_policy_takes_the_turn() -> None:
    task = make_task(score=counting())
    outcome = search(task, 4, Always(0))
    trials = outcome.study.get_trials(deepcopy=False)
    assert task.evaluator.evaluations == 4
    assert (outcome.repeated, outcome.random) == (3 * REPEATS_IN_A_ROW, 3)
    assert len(trials) == 4 + outcome.repeated
    assert [trial.value for trial in trials[: REPEATS_IN_A_ROW + 2]] == [100.0] * (REPEATS_IN_A_ROW + 1) + [99.0]
    assert len({tuple(trial.user_attrs["policy"].values()) for trial in trials}) == 4
    assert outcome.score == 97.0


class EverySecondNew(optuna.samplers.RandomSampler):
    """Proposes the lowest widths, and a new policy in between."""

    def sample_independent(self, study: Any, trial: Any, *_: Any) -> int:
        digits = np.base_repr(trial.number, 3).zfill(4)
        return int(digits[len(trial.params)]) if trial.number % 2 else 0


def test_repeats_that_are_not_in_a_row_bring_no_random_policy() -> None:
    task = make_task(score=counting())
    outcome = search(task, 8, EverySecondNew(seed=0), average_bits=8.0)
    assert outcome.repeated > REPEATS_IN_A_ROW
    assert outcome.random == 0


@pytest.mark.parametrize("average_bits", [2.0, 3.0])
def test_a_search_ends_when_every_feasible_policy_is_scored(average_bits: float) -> None:
    task = make_task(score=counting())
    outcome = search(task, 10**6, average_bits=average_bits)
    assert task.evaluator.evaluations == feasible_policies(task, average_bits) == len(outcome.curve)


def interrupting(after: int) -> ImageScore:
    calls = itertools.count()

    def score(outputs: Array, reference: Array) -> float:
        count = next(calls)
        if count == after:
            raise KeyboardInterrupt
        return float(10 + (count - 2) ** 2)

    return called_once(score)


def test_an_interrupted_search_returns_the_best_so_far(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        outcome = search(make_task(score=interrupting(after=5)), 20)
    assert outcome.interrupted
    assert outcome.score == 10.0
    assert caplog.messages == ["search interrupted after 5 of 20 evaluations: the best policy so far is used"]
    states = [trial.state for trial in outcome.study.get_trials(deepcopy=False)]
    assert states[-1] == TrialState.FAIL
    assert TrialState.RUNNING not in states


def test_an_interruption_before_the_first_score_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        search(make_task(score=interrupting(after=0)), 20)


def test_an_error_while_scoring_is_passed_on() -> None:
    def score(outputs: Array, reference: Array) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(make_task(score=score), 5)


def test_scores_that_are_not_numbers_are_failed_trials_and_never_the_best() -> None:
    calls = itertools.count()
    outcome = search(make_task(score=called_once(lambda outputs, reference: math.nan if next(calls) != 3 else 2.0)), 6)
    states = [trial.state for trial in outcome.study.get_trials(deepcopy=False)]
    assert states.count(TrialState.COMPLETE) == 1
    assert outcome.score == 2.0
    with pytest.raises(QuantizationError, match="no policy of the search has a finite score"):
        search(make_task(score=lambda outputs, reference: math.nan), 3)


def test_a_sampler_is_told_the_score_of_its_own_proposal() -> None:
    task = make_task()
    eight = dict.fromkeys(task.quantizable.groups, 8)
    outcome = search(task, 1, enqueue=[eight])
    (trial,) = outcome.study.get_trials(deepcopy=False)
    assert trial.params == dict.fromkeys(eight, 2)
    assert trial.user_attrs["policy"] != eight


def test_optuna_is_quiet_only_within() -> None:
    before, filters = optuna.logging.get_verbosity(), list(warnings.filters)
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        with quiet_optuna():
            assert optuna.logging.get_verbosity() == optuna.logging.ERROR
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
        assert warnings.filters == filters
        with pytest.raises(KeyboardInterrupt), quiet_optuna():
            raise KeyboardInterrupt
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)
