"""Scores a policy by running its own int8 model on the search images: the search scores what ships."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.runtime import run
from nncf_mcq.task.metrics import kl_divergence

Score = Callable[[NDArray[np.float32], NDArray[np.float32]], float]


class Evaluator:
    """Scores policies, each unique one once.

    Args:
        build: Makes the model of a policy.
        images: (N, ...) search images.
        reference: (N, ...) outputs of the float model on them.
        threads: Inference threads; policies are scored side by side, one thread each.
        batch_size: Images per inference.
        score: Distance of outputs from the reference, lower is better; `default_score` if not given.
        known: Scores that other searches of the same model and images found, and where new ones go. Asking for one
            of them takes no time, but counts as an evaluation.
    """

    def __init__(
        self,
        build: Callable[[Policy], ov.Model],
        images: NDArray[np.float32],
        reference: NDArray[np.float32],
        *,
        threads: int,
        batch_size: int,
        score: Score | None = None,
        known: MutableMapping[PolicyKey, float] | None = None,
    ) -> None:
        self._build = build
        self._images = images
        self._reference = reference
        self._threads = threads
        self._batch_size = batch_size
        self._score = score or default_score
        self._known = {} if known is None else known
        self._scores: dict[PolicyKey, float] = {}

    @property
    def evaluations(self) -> int:
        """Unique policies scored so far: the cost of a search."""
        return len(self._scores)

    def is_scored(self, policy: Policy) -> bool:
        """Whether scoring the policy would cost nothing."""
        return policy.key in self._scores

    def score(self, policy: Policy) -> float:
        """Distance of the policy's model from the float model on the search images; lower is better."""
        if policy.key not in self._scores:
            self._scores[policy.key] = self._run(policy, self._threads)
        return self._scores[policy.key]

    def score_model(self, model: ov.Model) -> float:
        """Distance of any model from the float model on the search images; not counted as an evaluation."""
        return self._distance(model, self._threads)

    def score_many(self, policies: list[Policy], progress: Callable[[], None] = lambda: None) -> list[float]:
        """Scores of several policies; compiling one overlaps with running another."""
        missing = {policy.key: policy for policy in policies if policy.key not in self._scores}

        def run_one(policy: Policy) -> None:
            self._scores[policy.key] = self._run(policy, 1)

        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(run_one, missing.values()):
                progress()
        return [self._scores[policy.key] for policy in policies]

    def _run(self, policy: Policy, threads: int) -> float:
        key = policy.key
        if key not in self._known:
            self._known[key] = self._distance(self._build(policy), threads)
        return self._known[key]

    def _distance(self, model: ov.Model, threads: int) -> float:
        outputs = run(model, self._images, threads=threads, batch_size=self._batch_size)
        return self._score(outputs, self._reference)


def default_score(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """KL divergence to the float outputs for classifiers (N, classes); relative squared error for any other output."""
    if reference.ndim == 2 and reference.shape[1] > 1:
        return kl_divergence(outputs, reference)
    difference = np.square(outputs.astype(np.float64) - reference).sum()
    return float(difference / max(np.square(reference.astype(np.float64)).sum(), 1e-20))
