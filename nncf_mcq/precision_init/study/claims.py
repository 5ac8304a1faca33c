"""Who runs a policy: of several processes that share a search, one."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import optuna
from optuna.trial import TrialState

from nncf_mcq.policy import Policy
from nncf_mcq.utils.interrupts import uninterrupted

CLAIM: Final = "claim"
CLAIMANT: Final = "process"
CLAIMED_POLICY: Final = "claimed_policy"
"""User attributes of a trial: the claim's own name, whose it is, and the JSON form of the policy."""

_RUN: Final = uuid4().hex
"""Differs from that of an earlier process of the same number, as in a container that was restarted."""


def this_process() -> dict[str, str | int]:
    """JSON values that name this process."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def process_number() -> int:
    """A number that differs from that of other processes and hosts."""
    return zlib.crc32(repr(sorted(this_process().items())).encode())


def is_gone(process: object) -> bool:
    """Whether a process was on this host and is no more; this one's own number is that of its predecessor.

    Args:
        process: What `this_process` was in that process.
    """
    if not isinstance(process, Mapping) or process.get("host") != socket.gethostname():
        return False
    pid = process.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    return pid == os.getpid() or not _is_alive(pid)


class Claims:
    """Claims in a study of their own. A policy is the first one's that claimed it and is alive.

    A claim is one trial, added before the claims of others are looked at: of two that come at once, each sees the
    other, and both see which was first.

    Args:
        study: Holds nothing else.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._own: set[str] = set()

    def take(self, policy: Policy) -> bool:
        """Whether the policy is this process's to run.

        Args:
            policy: One without a score.
        """
        name, wanted = uuid4().hex, policy.to_dict()
        self._own.add(name)
        claim = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs={CLAIM: name, CLAIMANT: this_process() | {"run": _RUN}, CLAIMED_POLICY: wanted},
        )
        with uninterrupted():
            self._study.add_trial(claim)
            claims = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in sorted(claims, key=lambda trial: trial.number):
            if trial.user_attrs.get(CLAIMED_POLICY) != wanted:
                continue
            is_own = trial.user_attrs.get(CLAIM) in self._own
            claimant = trial.user_attrs.get(CLAIMANT)
            is_alive = not is_gone(claimant) or (isinstance(claimant, Mapping) and claimant.get("run") == _RUN)
            if is_own or is_alive:
                return is_own
        return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
