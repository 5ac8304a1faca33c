"""Searches that end before they have used all evaluations, and the policy that they then return."""

from __future__ import annotations

import logging

import numpy as np
import optuna
import pytest

from nncf_mcq.precision_init.search.selection import select_policy
from nncf_mcq.precision_init.search.study import trials_without_gain
from nncf_mcq.testing.tasks import Space, watched_search
from tests.models import make_task

BUDGET = {"weight_size": {"average_bits": 4}}


def study_of(*values: float) -> optuna.Study:
    study = optuna.create_study()
    for value in values:
        study.add_trial(optuna.trial.create_trial(value=value))
    return study


@pytest.mark.parametrize(
    ("values", "expected"),
    [((), 0), ((1.0,), 0), ((1.0, 0.999), 1), ((1.0, 0.9), 0), ((1.0, 0.9, 0.95, 0.899), 2), ((0.0, 0.0), 1)],
)
def test_trials_without_gain(values: tuple[float, ...], expected: int) -> None:
    assert trials_without_gain(study_of(*values)) == expected


def test_rl_ends_without_progress_and_says_so() -> None:
    section = {"type": "rl", "budget": BUDGET, "evaluations": 1000, "patience": 3, "measured_widths": 1}
    search = watched_search(section, Space())
    details = search.find_policy().details
    assert details["ended_early"] is True
    assert details["out_of_time"] is False
    assert details["kept_warm_start"] in (True, False)
    assert search.task.evaluator.evaluations < 1000


def test_no_time_leaves_the_policy_that_the_errors_predict() -> None:
    section = {"type": "rl", "budget": BUDGET, "evaluations": 1000, "time_limit": 1e-6}
    search = watched_search(section, Space())
    result = search.find_policy()
    assert result.details["out_of_time"] is True
    # The widest policy that sensitivities are compared with, and the warm start.
    assert len(search.scored) <= 2
    assert search.task.costs.average_bits(result.policy) <= 4


def test_a_lucky_policy_does_not_displace_the_warm_start(caplog: pytest.LogCaptureFixture) -> None:
    task = make_task()
    lowest = task.policy({group: widths[0] for group, widths in task.choices.items()})
    widest = task.policy(task.widest)
    # The widest policy is better beyond doubt.
    assert select_policy(task, widest, lowest, 2).policy == widest
    values = task.evaluator.values(widest)
    noise = np.random.default_rng(0).standard_normal(len(values)).astype(np.float32)
    task.evaluator._values[lowest.key] = values + (noise - noise.mean()) - np.float32(1e-3)
    task.evaluator._scores[lowest.key] = float(task.evaluator._values[lowest.key].mean())
    with caplog.at_level(logging.WARNING):
        selection = select_policy(task, lowest, widest, 7)
    assert selection.policy == widest
    assert selection.kept_start
    assert selection.gain is not None
    assert 0 < selection.gain.mean < selection.gain.error
    assert "the best of 7 policies" in caplog.text


def test_without_a_warm_start_the_best_score_wins() -> None:
    task = make_task()
    widest = task.policy(task.widest)
    assert select_policy(task, widest, None, 1).to_dict() == {"gain": None, "kept_warm_start": False}
