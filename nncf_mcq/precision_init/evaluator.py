"""Scores a policy by running its own int8 model on the search images: the search scores what ships."""

from __future__ import annotations

import functools
import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import openvino as ov

from nncf_mcq.data.splits import Target
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Arrays, Samples
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init.estimate import ImageScores, mean_score
from nncf_mcq.precision_init.segment_library import BitWidths
from nncf_mcq.precision_init.segmented_runs import SegmentedRuns

_CLAIM_SECONDS = 600.0
"""For which a process waits for another's score; one of another machine may be gone."""

_POLL_SECONDS = 0.1


class ScoreMemo(Protocol):
    """Scores that outlive the process, and that several processes may share; called from several threads."""

    def refresh(self) -> Iterable[tuple[PolicyKey, ImageScores]]:
        """Scores that any process wrote since the last call."""

    def claim(self, policy: Policy) -> bool:
        """Whether this process is to run a policy; otherwise another one is at it."""

    def put(self, policy: Policy, values: ImageScores) -> None:
        """Writes the scores of a policy's images."""


@dataclass(frozen=True)
class Fold:
    """Images that policies are scored on, with weights that were not made from them.

    Attributes:
        build: Makes the model of a policy.
        images: The samples.
        reference: (N, ...) for each output of the float model on them.
        targets: Of the samples, where they are known: no score needs them.
        bit_widths: Those that `build` has weights of; without them each policy is compiled as a whole.
    """

    build: Callable[[Policy], ov.Model] = field(repr=False)
    images: Samples = field(repr=False)
    reference: Arrays = field(repr=False)
    targets: Sequence[Target] | None = field(default=None, repr=False)
    bit_widths: BitWidths = field(default_factory=dict, repr=False)


class Evaluator:
    """Scores policies, each unique one once.

    A score is the mean over all images of all folds: with two folds, the weights made from each half of the images are
    scored on the other half (cross-fitting), so that no image is lost to either end. The values of the images are kept:
    they tell how far two policies can be told apart.

    Args:
        folds: Images with the weights that are scored on them.
        score: Distance of all outputs from the reference, lower is better.
        threads: Inference threads; policies are scored side by side, one thread each.
        batch_size: Samples per inference, a number that changes no output.
        shared_scores: Scores that other searches of the same model and images found, and where new ones go. Asking
            for one of them takes no time, but counts as an evaluation.
        memo: Where scores are kept as soon as they are known. Those that it holds count, and are not run again.
        random_order: Score many policies in random order: processes that share a memo then share the work.

    Source: cross-fitting: Schick, "On asymptotically efficient estimation in semiparametric models", Annals of
    Statistics 14(3), 1986.
    """

    def __init__(
        self,
        folds: Sequence[Fold],
        score: OutputScores,
        *,
        threads: int,
        batch_size: int,
        shared_scores: MutableMapping[PolicyKey, ImageScores] | None = None,
        memo: ScoreMemo | None = None,
        random_order: bool = False,
    ) -> None:
        self.folds = tuple(folds)
        self._runs = [SegmentedRuns(fold.build, fold.bit_widths, fold.images, batch_size) for fold in self.folds]
        self._threads = threads
        self._batch_size = batch_size
        self._score = score
        self._shared_scores = {} if shared_scores is None else shared_scores
        self._values: dict[PolicyKey, ImageScores] = {}
        self._scores: dict[PolicyKey, float] = {}
        self._memo = memo
        self._random_order = random_order
        self._lock = threading.Lock()
        # Threads are never interrupted: they are asked to leave what they began.
        self._is_cancelled = threading.Event()
        self._own = 0
        self.images = sum(len(fold.images) for fold in self.folds)
        self.refresh()
        self._resumed = len(self._scores)

    @property
    def evaluations(self) -> int:
        """Unique policies scored so far: the cost of a search."""
        return len(self._scores)

    @property
    def image_passes(self) -> int:
        """Images that went through quantized models for these scores: the cost of a search in inferences."""
        return self.evaluations * self.images

    @property
    def origins(self) -> dict[str, int]:
        """How many of the evaluations were there before, are this process's own, and are those of other processes."""
        others = self.evaluations - self._resumed - self._own
        return {"resumed": self._resumed, "this_process": self._own, "workers": others}

    def refresh(self) -> None:
        """Reads what other processes have scored since."""
        if self._memo is not None:
            for key, values in self._memo.refresh():
                # The first score of a policy stays: scores of two machines may differ in the last digits.
                self._values.setdefault(key, values)
                self._scores.setdefault(key, mean_score(values))

    def is_scored(self, policy: Policy) -> bool:
        """Whether scoring the policy would cost nothing."""
        return policy.key in self._scores

    def known_score(self, policy: Policy) -> float | None:
        """The score of a policy that has one."""
        return self._scores.get(policy.key)

    def known_values(self, policy: Policy) -> ImageScores | None:
        """The values of the images of a policy that has a score, in the order of the folds."""
        return self._values.get(policy.key)

    def scores_from(self, index: int) -> list[tuple[PolicyKey, float]]:
        """The scores in their order, from that evaluation on; not to be asked while `score_many` runs."""
        return list(itertools.islice(self._scores.items(), index, None))

    def score(self, policy: Policy) -> float:
        """Distance of the policy's model from the float model on the search images; lower is better."""
        score = self._score_once(policy, self._threads)
        assert score is not None
        return score

    def values(self, policy: Policy) -> ImageScores:
        """The values of the images, of which the score is the mean; counted as `score`."""
        self.score(policy)
        return self._values[policy.key]

    def outputs(self, policy: Policy) -> list[Arrays]:
        """The outputs of a policy on the images of each fold; counted as `score`, which they give on the way.

        They are not kept: asking again runs the models again.
        """
        found = [self._run_policy(policy, index, self._threads) for index in range(len(self.folds))]
        if not self.is_scored(policy) and policy.key not in self._shared_scores:
            pairs = zip(found, self.folds, strict=True)
            self._shared_scores[policy.key] = np.concatenate([self._score_outputs(*pair) for pair in pairs])
        self.score(policy)
        return found

    def score_model(self, model: ov.Model, fold: int = 0) -> ImageScores:
        """Values of a fold's images for any model; not counted as an evaluation."""
        return self._score_model(model, self.folds[fold], self._threads)

    def fold_values(self, policy: Policy, fold: int = 0) -> ImageScores:
        """Values of a fold's images for a policy; counted as `score`."""
        first = sum(len(other.images) for other in self.folds[:fold])
        return self.values(policy)[first : first + len(self.folds[fold].images)]

    def score_many(
        self,
        policies: list[Policy],
        progress: Callable[[], None] = lambda: None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> list[float]:
        """Scores several policies; compiling one overlaps with running another.

        Args:
            policies: Which.
            progress: Called after each that had no score.
            is_over: Asked before each that has no score; where it is, none is scored any more.

        Returns:
            Their scores; not a number for those that were not scored.
        """
        missing = list({policy.key: policy for policy in policies if policy.key not in self._scores}.values())
        if self._random_order:
            random.shuffle(missing)
        # What other processes are at comes last: by then most of it has a score.
        left = self._score_side_by_side(missing, progress, is_over, wait=False)
        self._score_side_by_side(left, progress, is_over, wait=True)
        return [self._scores.get(policy.key, math.nan) for policy in policies]

    def _score_side_by_side(
        self, policies: list[Policy], progress: Callable[[], None], is_over: Callable[[], bool], *, wait: bool
    ) -> list[Policy]:
        """Scores policies in threads; returns those that were left to other processes."""
        left = []
        with self._pool(self._threads) as pool:
            found = pool.map(lambda policy: not is_over() and self._score_once(policy, 1, wait), policies)
            for policy, scored in zip(policies, found, strict=True):
                if scored is None:
                    left.append(policy)
                elif scored is not False:
                    progress()
        return left

    def _score_once(self, policy: Policy, threads: int, wait: bool = True) -> float | None:
        """The score; None where another process is at it, and this one does not wait."""
        patience = time.monotonic() + _CLAIM_SECONDS
        while policy.key not in self._scores:
            self.refresh()
            if policy.key in self._scores:
                break
            if self._memo is None or self._memo.claim(policy) or time.monotonic() > patience:
                self._keep(policy, self._run(policy, threads))
            elif not wait:
                return None
            else:
                self._check()
                time.sleep(_POLL_SECONDS)
        return self._scores[policy.key]

    def _keep(self, policy: Policy, values: ImageScores) -> None:
        with self._lock:
            if policy.key in self._scores:
                return
            self._values[policy.key] = values
            self._scores[policy.key] = mean_score(values)
            self._own += 1
        if self._memo is not None:
            self._memo.put(policy, values)

    def _run(self, policy: Policy, threads: int) -> ImageScores:
        key = policy.key
        if key not in self._shared_scores:
            self._shared_scores[key] = self._run_folds(policy, threads)
        return self._shared_scores[key]

    def _run_folds(self, policy: Policy, threads: int) -> ImageScores:
        """Values of all images. Folds run side by side where there are threads for that."""
        numbers = range(len(self.folds))
        if threads == 1 or len(self.folds) == 1:
            return np.concatenate([self._score_fold(policy, index, threads) for index in numbers])
        each = max(threads // len(self.folds), 1)
        with self._pool(len(self.folds)) as pool:
            return np.concatenate(list(pool.map(lambda index: self._score_fold(policy, index, each), numbers)))

    @contextmanager
    def _pool(self, threads: int) -> Iterator[ThreadPoolExecutor]:
        """Threads that leave what they are at when the block ends with an exception, such as Ctrl-C."""
        with ThreadPoolExecutor(threads) as pool:
            try:
                yield pool
            except BaseException:
                self._is_cancelled.set()
                pool.shutdown(cancel_futures=True)
                self._is_cancelled.clear()
                raise

    def _check(self) -> None:
        if self._is_cancelled.is_set():
            raise CancelledError

    def _score_fold(self, policy: Policy, index: int, threads: int) -> ImageScores:
        return self._score_outputs(self._run_policy(policy, index, threads), self.folds[index])

    def _run_policy(self, policy: Policy, index: int, threads: int) -> Arrays:
        fold = self.folds[index]
        whole = functools.partial(self._build_and_run, policy, fold, threads)
        return self._runs[index](policy, whole, threads, self._check)

    def _build_and_run(self, policy: Policy, fold: Fold, threads: int) -> Arrays:
        return self._run_model(fold.build(policy), fold, threads)

    def _score_model(self, model: ov.Model, fold: Fold, threads: int) -> ImageScores:
        return self._score_outputs(self._run_model(model, fold, threads), fold)

    def _run_model(self, model: ov.Model, fold: Fold, threads: int) -> Arrays:
        runner = ModelRunner.compile(model, threads, batch_size=self._batch_size)
        return runner(fold.images.arrays, self._check)

    def _score_outputs(self, outputs: Arrays, fold: Fold) -> ImageScores:
        return self._score.values(outputs, fold.reference, len(fold.images)).astype(np.float32)
