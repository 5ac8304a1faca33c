"""Every scored policy as a finished trial of a study."""

from __future__ import annotations

import math
import threading

import optuna
from optuna.trial import TrialState

from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.utils.interrupts import uninterrupted

SCORED_POLICY = "scored_policy"
"""User attribute of a trial: the JSON form of the policy whose score is the trial's value."""


class StudyMemo:
    """Scores in a study of their own: the policies of sensitivities are no proposals that a sampler may learn from.

    A score is one finished trial, written at once: there is no half of one. A score that is not a number is a failed
    trial.

    Args:
        study: Holds nothing else.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._read: set[int] = set()
        self._lock = threading.Lock()

    def refresh(self) -> list[tuple[PolicyKey, float]]:
        """The scores that any process wrote since the last call, in their order."""
        with uninterrupted(), self._lock:
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
            # Not the tail of the list: a database may show a trial after one that was begun later.
            new = [trial for trial in trials if trial.number not in self._read]
            self._read.update(trial.number for trial in new)
        found = []
        for trial in new:
            try:
                policy = Policy.from_dict(trial.user_attrs.get(SCORED_POLICY))
            except ConfigError:
                continue
            found.append((policy.key, math.nan if trial.value is None else trial.value))
        return found

    def put(self, policy: Policy, score: float) -> None:
        """Writes a score; may be called from several threads."""
        is_number = not math.isnan(score)
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE if is_number else TrialState.FAIL,
            value=score if is_number else None,
            user_attrs={SCORED_POLICY: policy.to_dict()},
        )
        with uninterrupted():
            self._study.add_trial(trial)
