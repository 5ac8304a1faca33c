"""Every scored policy as a finished trial of a study."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import optuna
from optuna.trial import TrialState

from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init.estimate import ImageScores, from_text, mean_score, to_text
from nncf_mcq.precision_init.study.claims import Claims
from nncf_mcq.utils.interrupts import uninterrupted

SCORED_POLICY = "scored_policy"
"""User attribute of a trial: the JSON form of the policy whose score is the trial's value."""

SHARED = "shared"
"""User attribute of the study: whether a worker has joined, so that policies have to be claimed."""

IMAGE_SCORES = "image_scores"
"""User attribute of a trial: the values of the images, of which the trial's value is the mean."""


class StudyMemo:
    """Scores in a study of their own: the policies of sensitivities are no proposals that a sampler may learn from.

    A score is one finished trial, written at once: there is no half of one. A score that is not a number is a failed
    trial.

    Args:
        study: Holds nothing else.
        make_claims: Opens the study of claims.
        is_shared: Whether this is a worker, with which the search has several processes.
    """

    def __init__(
        self, study: optuna.Study, make_claims: Callable[[], optuna.Study] | None = None, *, is_shared: bool = False
    ) -> None:
        self._study = study
        self._make_claims = make_claims
        self._claims: Claims | None = None
        if is_shared:
            study.set_user_attr(SHARED, True)
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
                values = from_text(str(trial.user_attrs[IMAGE_SCORES]))
            except (ConfigError, KeyError, ValueError):
                continue
            if len(values):
                found.append((policy.key, values))
        return found

    def claim(self, policy: Policy) -> bool:
        """Whether this process is to run a policy: always, unless a worker has joined and another is at it.

        Args:
            policy: One without a score.
        """
        if self._make_claims is None:
            return True
        with self._lock:
            if self._claims is None:
                with uninterrupted():
                    if not self._study.user_attrs.get(SHARED):
                        return True
                    self._claims = Claims(self._make_claims())
            return self._claims.take(policy)

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
