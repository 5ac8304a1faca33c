"""Processes that share a study: whose a trial is, and which seed is whose."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.study.claims import is_gone

POLICY_ATTRIBUTE = "policy"
"""User attribute of a trial: the group bits that are scored, after repair."""

PROCESS_ATTRIBUTE = "process"
"""User attribute of a trial: host and process id of whoever scores it."""

REPEATED_ATTRIBUTE = "repeated"
"""User attribute of a trial whose policy had a score before it was proposed."""

NO_NUMBER_ATTRIBUTE = "no_number"
"""User attribute of a failed trial whose policy has a score that is not a number.

Trials that failed without it were left by a process that ended: a search that is resumed proposes the same again.
"""

_PATIENCE = 2.0
"""Seconds in which a process that has begun a trial says that it is its own."""


def mixed_seed(*numbers: int) -> int:
    """A seed of 32 bits that depends on every number."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def settle_trials(study: optuna.Study, task: PrecisionTask) -> None:
    """Ends the trials that processes of this host left running when they died.

    A trial whose policy was scored before that is told the score; the others failed. Those of other hosts are left
    alone: their processes may be alive. A trial of nobody's was left between two writes, unless it is claimed at once.

    Args:
        study: The sampler's study.
        task: Its evaluator knows the scores.
    """
    deadline = time.monotonic() + _PATIENCE
    while (running := _running(study)) and time.monotonic() < deadline:
        if all(PROCESS_ATTRIBUTE in trial.user_attrs for trial in running):
            break
        time.sleep(_PATIENCE / 50)
    for trial in running:
        if not _is_abandoned(trial.user_attrs.get(PROCESS_ATTRIBUTE)):
            continue
        score = _score_of(trial, task)
        if score is None or math.isnan(score):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            study.tell(trial.number, score, skip_if_finished=True)


def episode(study: optuna.Study, trial: FrozenTrial) -> int:
    """The number of a trial among those that an undisturbed search would have: what a killed process left is no part.

    Args:
        study: The sampler's study.
        trial: One of it.
    """
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    left = sum(other.number < trial.number and NO_NUMBER_ATTRIBUTE not in other.user_attrs for other in failed)
    return trial.number - left


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were finished, in their order, without those that killed processes left."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        if trial.state == TrialState.COMPLETE or NO_NUMBER_ATTRIBUTE in trial.user_attrs
    ]


def repeats_in_a_row(study: optuna.Study) -> int:
    """How many of the last finished trials repeated a policy that had a score."""
    last = itertools.takewhile(lambda trial: REPEATED_ATTRIBUTE in trial.user_attrs, reversed(trials_of(study)))
    return sum(1 for _ in last)


def _running(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _score_of(trial: FrozenTrial, task: PrecisionTask) -> float | None:
    policy = trial.user_attrs.get(POLICY_ATTRIBUTE)
    if not isinstance(policy, Mapping) or set(policy) != set(task.choices):
        return None
    return task.evaluator.known_score(task.policy(policy))


def _is_abandoned(process: object) -> bool:
    """Whether a trial's process is no more, or never said that the trial is its own.

    Asked before this process has a trial: one of its own number, e.g. in a restarted container, is its predecessor.
    """
    return process is None or is_gone(process)
