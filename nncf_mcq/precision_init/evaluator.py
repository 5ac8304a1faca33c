"""Scores a policy by running its own int8 model on the search images: the search scores what ships."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import openvino as ov

from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import AnySamples, Arrays, as_samples
from nncf_mcq.policy import Policy, PolicyKey


class ScoreMemo(Protocol):
    """Scores that outlive the process, and that several processes may share; called from several threads."""

    def refresh(self) -> Iterable[tuple[PolicyKey, float]]:
        """Scores that any process wrote since the last call."""

    def put(self, policy: Policy, score: float) -> None:
        """Writes a score."""


class Evaluator:
    """Scores policies, each unique one once.

    Args:
        build: Makes the model of a policy.
        images: The search samples.
        reference: (N, ...) for each output of the float model on them.
        score: Distance of all outputs from the reference, lower is better.
        threads: Inference threads; policies are scored side by side, one thread each.
        batch_size: Samples per inference, a number that changes no output.
        shared_scores: Scores that other searches of the same model and images found, and where new ones go. Asking
            for one of them takes no time, but counts as an evaluation.
        memo: Where scores are kept as soon as they are known. Those that it holds count, and are not run again.
        random_order: Score many policies in random order: processes that share a memo then share the work.
    """

    def __init__(
        self,
        build: Callable[[Policy], ov.Model],
        images: AnySamples,
        reference: Arrays,
        score: OutputScores,
        *,
        threads: int,
        batch_size: int,
        shared_scores: MutableMapping[PolicyKey, float] | None = None,
        memo: ScoreMemo | None = None,
        random_order: bool = False,
    ) -> None:
        self._build = build
        self._images = as_samples(images)
        self._reference = reference
        self._threads = threads
        self._batch_size = batch_size
        self._score = score
        self._shared_scores = {} if shared_scores is None else shared_scores
        self._scores: dict[PolicyKey, float] = {}
        self._memo = memo
        self._random_order = random_order
        self._lock = threading.Lock()
        self._own = 0
        self.refresh()
        self._resumed = len(self._scores)

    @property
    def evaluations(self) -> int:
        """Unique policies scored so far: the cost of a search."""
        return len(self._scores)

    @property
    def origins(self) -> dict[str, int]:
        """How many of the evaluations were there before, are this process's own, and are those of other processes."""
        others = self.evaluations - self._resumed - self._own
        return {"resumed": self._resumed, "this_process": self._own, "workers": others}

    def refresh(self) -> None:
        """Reads what other processes have scored since."""
        if self._memo is not None:
            for key, score in self._memo.refresh():
                # The first score of a policy stays: scores of two machines may differ in the last digits.
                self._scores.setdefault(key, score)

    def is_scored(self, policy: Policy) -> bool:
        """Whether scoring the policy would cost nothing."""
        return policy.key in self._scores

    def known_score(self, policy: Policy) -> float | None:
        """The score of a policy that has one."""
        return self._scores.get(policy.key)

    def scores_from(self, index: int) -> list[tuple[PolicyKey, float]]:
        """The scores in their order, from that evaluation on; not to be asked while `score_many` runs."""
        return list(itertools.islice(self._scores.items(), index, None))

    def score(self, policy: Policy) -> float:
        """Distance of the policy's model from the float model on the search images; lower is better."""
        return self._score_once(policy, self._threads)

    def score_model(self, model: ov.Model) -> float:
        """Distance of any model from the float model on the search images; not counted as an evaluation."""
        return self._distance(model, self._threads)

    def score_many(self, policies: list[Policy], progress: Callable[[], None] = lambda: None) -> list[float]:
        """Scores of several policies; compiling one overlaps with running another."""
        missing = list({policy.key: policy for policy in policies if policy.key not in self._scores}.values())
        if self._random_order:
            random.shuffle(missing)
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for _ in pool.map(lambda policy: self._score_once(policy, 1), missing):
                    progress()
            except BaseException:
                # Ctrl-C should not wait for all that was not yet begun.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [self._scores[policy.key] for policy in policies]

    def _score_once(self, policy: Policy, threads: int) -> float:
        if policy.key not in self._scores:
            self.refresh()
        if policy.key not in self._scores:
            self._keep(policy, self._run(policy, threads))
        return self._scores[policy.key]

    def _keep(self, policy: Policy, score: float) -> None:
        with self._lock:
            if policy.key in self._scores:
                return
            self._scores[policy.key] = score
            self._own += 1
        if self._memo is not None:
            self._memo.put(policy, score)

    def _run(self, policy: Policy, threads: int) -> float:
        key = policy.key
        if key not in self._shared_scores:
            self._shared_scores[key] = self._distance(self._build(policy), threads)
        return self._shared_scores[key]

    def _distance(self, model: ov.Model, threads: int) -> float:
        runner = ModelRunner.compile(model, threads, batch_size=self._batch_size)
        return self._score(runner(self._images.arrays), self._reference)
