"""Processes that share a study: whose a trial is, and which seed is whose."""

from __future__ import annotations

import math
import os
import socket
import zlib
from collections.abc import Mapping

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nncf_mcq.precision_init.base import PrecisionTask

POLICY_ATTRIBUTE = "policy"
"""User attribute of a trial: the group bits that are scored, after repair."""

PROCESS_ATTRIBUTE = "process"
"""User attribute of a trial: host and process id of whoever scores it."""


def this_process() -> dict[str, str | int]:
    """JSON values that name this process."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def process_number() -> int:
    """A number that differs from that of other processes and hosts."""
    return zlib.crc32(repr(sorted(this_process().items())).encode())


def mixed_seed(*numbers: int) -> int:
    """A seed of 32 bits that depends on every number."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def settle_trials(study: optuna.Study, task: PrecisionTask) -> None:
    """Ends the trials that processes of this host left running when they died.

    A trial whose policy was scored before that is told the score; the others failed. Those of other hosts are left
    alone: their processes may be alive.

    Args:
        study: The sampler's study.
        task: Its evaluator knows the scores.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _is_abandoned(trial.user_attrs.get(PROCESS_ATTRIBUTE)):
            continue
        score = _score_of(trial, task)
        if score is None or math.isnan(score):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            study.tell(trial.number, score, skip_if_finished=True)


def _score_of(trial: FrozenTrial, task: PrecisionTask) -> float | None:
    policy = trial.user_attrs.get(POLICY_ATTRIBUTE)
    if not isinstance(policy, Mapping) or set(policy) != set(task.choices):
        return None
    return task.evaluator.known_score(task.policy(policy))


def _is_abandoned(process: object) -> bool:
    """Whether a trial's process was on this host and is no more."""
    if not isinstance(process, Mapping) or process.get("host") != socket.gethostname():
        return False
    pid = process.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    # Asked before this process has a trial: one of the same number, e.g. in a restarted container, is its predecessor.
    return pid == os.getpid() or not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
