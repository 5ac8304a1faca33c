"""Searches for bits in the small network, watched."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.metrics.scores import ImageScore, image_values
from nncf_mcq.pipeline.preparation import Preparation, prepare
from nncf_mcq.policy import PolicyKey
from nncf_mcq.precision_init import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.estimate import ImageScores
from nncf_mcq.testing.networks import IMAGES, images, small_config, small_network
from nncf_mcq.testing.registration import Section
from nncf_mcq.utils.progress import SilentProgress, Stages


@dataclass(frozen=True)
class Space:
    """Bit-widths that a policy may choose from.

    Attributes:
        weight_bits: Bit-widths of weights.
        activation_bits: Bit-width of activations, or several to choose from.
    """

    weight_bits: tuple[int, ...] = (2, 4, 8)
    activation_bits: int | tuple[int, ...] = 8


@dataclass
class WatchedSearch:
    """One search, and what it did.

    Attributes:
        initializer: The initializer that searches.
        task: What it is given.
        scores: Counts the policies that it scores.
        progress: What it reports: steps done, and steps in all.
    """

    initializer: PrecisionInitializer
    task: PrecisionTask
    scores: CountedScores
    progress: list[tuple[int, int]] = field(default_factory=list)
    _result: PrecisionResult | None = None

    @property
    def runs(self) -> int:
        """How often a policy or a model was scored; the same policy counts as often as it was."""
        return self.scores.reads + self.scores.uncounted

    @property
    def scored(self) -> list[tuple[PolicyKey, float]]:
        """The policies that were scored, with their scores, in their order."""
        return self.task.evaluator.scores_from(0)

    @property
    def found(self) -> PrecisionResult:
        """The result of a search that ended well."""
        assert self._result is not None
        return self._result

    def find_policy(self) -> PrecisionResult:
        """Searches."""
        self._result = self.initializer.find_policy(self.task)
        return self._result


def watched_search(section: Section, space: Space) -> WatchedSearch:
    """A search in the small network that has not begun.

    Args:
        section: JSON of the precision initializer.
        space: The bit-widths to choose from.
    """
    config = small_config(precision=section, weight_bits=space.weight_bits)
    initializer: PrecisionInitializer = PRECISION_INITIALIZERS.create(config.compression.initializer.precision)
    needed = tuple(sorted({*space.weight_bits, *initializer.required_bits(space.weight_bits)}))
    prepared, known = _prepared(space, needed)
    scores = CountedScores(known)
    task = dataclasses.replace(prepared, score=scores.counting(prepared.score, len(prepared.folds))).task(
        shared_scores=scores
    )
    search = WatchedSearch(initializer, task, scores)
    search.task = dataclasses.replace(task, progress=lambda done, total: search.progress.append((done, total)))
    return search


def finished_search(section: Section, space: Space) -> WatchedSearch:
    """A search that has ended; the same object for equal arguments, and not to be edited.

    Raises:
        BudgetError: The budget cannot be met.
    """
    # Another class may have been registered under the name since.
    registered = id(PRECISION_INITIALIZERS[section["type"]])
    return _finished_search(json.dumps(section, sort_keys=True), space, registered)


class CountedScores(MutableMapping[PolicyKey, ImageScores]):
    """Scores that searches in the same space share, so that no model runs twice; counts what one search asks for.

    Attributes:
        reads: How often a policy was scored.
        uncounted: How many models were scored that are no policy's.
    """

    def __init__(self, known: dict[PolicyKey, ImageScores]) -> None:
        self._known = known
        self._folds = 1
        self.reads = 0
        self.uncounted = 0

    def counting(self, scores: OutputScores, folds: int) -> OutputScores:
        """The same score, which counts its calls.

        Args:
            scores: Of a model with one output.
            folds: How often a policy asks for it.
        """
        (only,) = scores.scores
        self._folds = folds

        def count(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
            self.uncounted += 1
            return image_values(only.function, outputs, reference)

        return OutputScores([dataclasses.replace(only, function=ImageScore(count))])

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __getitem__(self, key: PolicyKey) -> ImageScores:
        score = self._known[key]
        self.reads += 1
        return score

    def __setitem__(self, key: PolicyKey, score: ImageScores) -> None:
        # Those were a policy's.
        self.uncounted -= self._folds
        self._known[key] = score

    def __delitem__(self, key: PolicyKey) -> None:
        del self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[PolicyKey]:
        return iter(self._known)


class _EveryWidth(PrecisionInitializer):
    """Asks for a weight table of given bit-widths, for searches that score policies."""

    def __init__(self, bits: tuple[int, ...]) -> None:
        self._bits = bits

    def required_bits(self, task_bits: tuple[int, ...]) -> tuple[int, ...]:
        return self._bits

    def check(self, *arguments: object) -> None:
        pass

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        raise NotImplementedError


@functools.cache
def _prepared(space: Space, bits: tuple[int, ...]) -> tuple[Preparation, dict[PolicyKey, ImageScores]]:
    """Start of the searches in a space, and the scores that they share."""
    config = small_config(weight_bits=space.weight_bits, activation_bits=space.activation_bits)
    stages = Stages(SilentProgress())
    compression, runtime = config.compression, config.runtime
    return prepare(small_network(), images(IMAGES), compression, runtime, _EveryWidth(bits), stages), {}


@functools.cache
def _finished_search(section: str, space: Space, registered: int) -> WatchedSearch:
    search = watched_search(json.loads(section), space)
    search.find_policy()
    return search
