"""Every scored policy as a finished trial of a study."""

from __future__ import annotations

import math
import threading

import optuna
from optuna.trial import TrialState

from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init.estimate import ImageScores, from_text, mean_score, to_text
from nncf_mcq.utils.interrupts import uninterrupted

SCORED_POLICY = "scored_policy"
"""User attribute of a trial: the JSON form of the policy whose score is the trial's value."""

IMAGE_SCORES = "image_scores"
"""User attribute of a trial: the values of the images, of which the trial's value is the mean."""


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

    def refresh(self) -> list[tuple[PolicyKey, ImageScores]]:
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
                values = from_text(str(trial.user_attrs.get(IMAGE_SCORES, "")))
            except (ConfigError, ValueError):
                continue
            if len(values):
                found.append((policy.key, values))
        return found

    def put(self, policy: Policy, values: ImageScores) -> None:
        """Writes the scores of a policy's images; may be called from several threads."""
        score = mean_score(values)
        is_number = not math.isnan(score)
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE if is_number else TrialState.FAIL,
            value=score if is_number else None,
            user_attrs={SCORED_POLICY: policy.to_dict(), IMAGE_SCORES: to_text(values)},
        )
        with uninterrupted():
            self._study.add_trial(trial)
