"""Policies of many sizes from one set of sensitivities, and the front of those that no smaller one is as good as."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from nncf_mcq.config.budget import WeightSizeBudget
from nncf_mcq.config.goal import DROP
from nncf_mcq.config.pareto_file import DifferenceReport, IntervalReport, ParetoPoint
from nncf_mcq.errors import BudgetError, QuantizationError
from nncf_mcq.metrics import is_classifier
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.estimate import paired_difference
from nncf_mcq.precision_init.evaluator import Fold
from nncf_mcq.precision_init.ilp import solve
from nncf_mcq.precision_init.quality import Agreement, Divergence, Drop, Interval, Quality, mean_interval
from nncf_mcq.precision_init.shrinkage import Sensitivities
from nncf_mcq.utils.json_values import finite_or_none

CONFIDENCE: Final = 0.95
"""Of the intervals, two-sided."""

_logger = logging.getLogger(__name__)


class FrontSearch:
    """Finds policies of given sizes, and measures them.

    Args:
        task: The model, the bit-widths and the evaluator.
        metrics: Names of metrics whose drop is measured where labels are known.
    """

    def __init__(self, task: PrecisionTask, metrics: Sequence[str] = ()) -> None:
        self._task = task
        self._qualities = find_qualities(task.evaluator.folds, metrics)
        self._size = task.costs.size_limit(WeightSizeBudget(bytes=_UNLIMITED), task.choices)
        self._smallest = {group: widths[0] for group, widths in task.choices.items()}

    def check(self, size: WeightSizeBudget, text: str) -> None:
        """Finds sizes that no policy has.

        Args:
            size: In bytes or in average bits.
            text: As the user wrote it.

        Raises:
            BudgetError: There is none that small.
        """
        bits, smallest = self._task.costs.average_bits(self._task.policy(self._smallest)), self._bytes(self._smallest)
        if not is_within(size, smallest, bits):
            raise BudgetError(
                f"no policy is as small as {text}: the smallest file has {smallest:,} bytes, {bits:.2f} bits per weight"
            )

    def ladder(self, sensitivities: Sensitivities, points: int) -> list[dict[str, int]]:
        """The best choices for so many sizes in geometric steps, from the smallest to the largest; each once.

        Args:
            sensitivities: Group and width to what is summed.
            points: Number of sizes.
        """
        smallest, largest = self._bytes(self._smallest), self._bytes(self._task.widest)
        between = np.geomspace(smallest, largest, max(points, 2))[1:-1]
        limits = [smallest, *between, largest]
        found = [solve(sensitivities, [dataclasses.replace(self._size, limit=float(limit))]) for limit in limits]
        return list({self._task.policy(choice).key: choice for choice in found}.values())

    def choose(self, sensitivities: Sensitivities, size: WeightSizeBudget) -> dict[str, int]:
        """The best choice for one size.

        Args:
            sensitivities: Group and width to what is summed.
            size: `check` accepts it.
        """
        return solve(sensitivities, [self._task.costs.size_limit(size, self._task.choices)])

    def measure(self, choice: Mapping[str, int], sensitivities: Sensitivities) -> ParetoPoint:
        """The size of a choice, its score and its qualities, as far as there are numbers for them.

        Args:
            choice: Bits of each group.
            sensitivities: Group and width to what predicts its score.
        """
        task, policy = self._task, self._task.policy(choice)
        one_sided = (1 + CONFIDENCE) / 2
        # Running the model again, where its score is known, is only worth it for what its outputs tell besides.
        outputs = task.evaluator.outputs(policy) if self._qualities else []
        values = task.evaluator.values(policy)
        qualities = {name: _report(quality.interval(outputs, one_sided)) for name, quality in self._qualities.items()}
        return ParetoPoint(
            bytes=self._bytes(choice),
            average_bits=task.costs.average_bits(policy),
            score=_report(mean_interval(values, one_sided, is_distance=bool((values >= 0).all()))),
            predicted_score=finite_or_none(sum(sensitivities[group][bits] for group, bits in choice.items())),
            qualities=qualities,
            policy=policy.to_dict(),
        )

    def with_gains(self, points: Sequence[ParetoPoint]) -> tuple[ParetoPoint, ...]:
        """A front whose points but the first tell what they gain over the one before.

        Args:
            points: The front, ascending in size; all were measured here.
        """
        values = [self._task.evaluator.values(Policy.from_dict(point.policy)) for point in points]
        found = list(points[:1])
        for point, own, smaller in zip(points[1:], values[1:], values, strict=False):
            gain = paired_difference(smaller, own)
            report = DifferenceReport(mean=gain.mean, standard_error=finite_or_none(gain.error))
            found.append(point.model_copy(update={"gain": report}))
        return tuple(found)

    def _bytes(self, choice: Mapping[str, int]) -> int:
        return math.ceil(self._size.total(choice))


def is_within(size: WeightSizeBudget, file_bytes: int, average_bits: float) -> bool:
    """Whether a policy keeps a size, up to rounding of the last digits.

    Args:
        size: In bytes or in average bits.
        file_bytes: Of the policy's .bin.
        average_bits: Of the policy.
    """
    if size.bytes is not None:
        return file_bytes <= size.bytes
    assert size.average_bits is not None
    return average_bits <= size.average_bits * (1 + 1e-9)


def find_front(points: Sequence[ParetoPoint]) -> tuple[list[ParetoPoint], list[ParetoPoint]]:
    """The points of which no other one is as small and scores as well, and the rest; both ascending in size.

    Args:
        points: In any order; those without a score are not on the front.

    Raises:
        QuantizationError: No point has a score.
    """
    front: list[ParetoPoint] = []
    dominated: list[ParetoPoint] = []
    for point in sorted(points, key=lambda point: (point.bytes, _or_infinity(point.score.value))):
        is_better = _or_infinity(point.score.value) < (_or_infinity(front[-1].score.value) if front else math.inf)
        (front if is_better else dominated).append(point)
    if not front:
        raise QuantizationError("no policy has a score that is a number, at any size")
    return front, dominated


def find_qualities(folds: Sequence[Fold], metrics: Sequence[str]) -> dict[str, Quality]:
    """The qualities that the outputs and labels of the search images allow for, by their names as in a goal.

    Args:
        folds: The images, with the outputs of the float model.
        metrics: Names of metrics whose drop is wanted.
    """
    found: dict[str, Quality] = {}
    if is_classifier(folds[0].reference[0]):
        found |= {"agreement": Agreement(folds), "kl": Divergence(folds)}
    for metric in metrics if all(fold.targets is not None for fold in folds) else ():
        try:
            found[metric + DROP] = Drop(metric, folds)
        except ValueError as error:
            _logger.warning("%s: not measured on the search images (%s)", metric, error)
    return found


_UNLIMITED = 2**62
"""Bytes that every policy keeps to."""


def _report(interval: Interval) -> IntervalReport:
    return IntervalReport(
        value=finite_or_none(interval.value), low=finite_or_none(interval.low), high=finite_or_none(interval.high)
    )


def _or_infinity(value: float | None) -> float:
    return math.inf if value is None else value
