"""How close a policy comes to the float model, as people measure it: with the bounds of a confidence interval."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.data.splits import Target
from nncf_mcq.metrics import METRICS, SHARES, stack_targets
from nncf_mcq.metrics.bounds import mean_upper_bound, paired_drop_upper_bound, share_lower_bound
from nncf_mcq.metrics.closeness import Closeness
from nncf_mcq.metrics.jackknife import jackknife
from nncf_mcq.metrics.metrics import ImageMetric, Metric, SampleMetric, agreements, kl_divergences
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.samples import Arrays
from nncf_mcq.precision_init.estimate import standard_error
from nncf_mcq.precision_init.evaluator import Fold

_ALIKE: Final = 1e-9
"""Difference of shares that is one of rounding."""

_FEWEST_DIFFERENT: Final = 5
"""Images that differ from the float model's, with fewer of which their spread tells nothing of the others."""

_BIAS: Final = 2.0
"""How often the jackknife's bias is taken off: of what falls with the root of the number of images, as that of the
interpolated precision of few objects does, it finds half."""

_SURE: Final = 1e-4
"""Distance of a share from 0 and 1 at which its odds are those of a sure thing."""


@dataclass(frozen=True)
class Interval:
    """Estimate of a quantity from the search images, with a lower and an upper bound.

    Attributes:
        value: On these images.
        error: Its standard error.
        low: What other images of the same kind do not fall short of, at a one-sided confidence.
        high: What they do not exceed, at the same confidence.
    """

    value: float
    error: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """The interval in another unit."""
        return Interval(factor * self.value, factor * self.error, factor * self.low, factor * self.high)


def mean_interval(values: NDArray[np.floating], confidence: float, *, is_distance: bool = False) -> Interval:
    """The interval of a mean.

    Args:
        values: (N,) of the images.
        confidence: One-sided, of each bound.
        is_distance: Values are never negative, so that neither is their mean.
    """
    low, high = -mean_upper_bound(-values, confidence), mean_upper_bound(values, confidence)
    if is_distance:
        low = max(low, 0.0)
    return Interval(float(values.mean(dtype=np.float64)), standard_error(values), low, high)


class Quality(ABC):
    """Quality of a policy's first output, over the images of all folds.

    Args:
        folds: The images, with the outputs of the float model.
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(self, folds: Sequence[Fold]) -> None:
        self.reference = np.concatenate([fold.reference[0] for fold in folds])

    @abstractmethod
    def interval(self, outputs: Sequence[Arrays], confidence: float) -> Interval:
        """The quality of a policy.

        Args:
            outputs: (N, ...) for each output of the policy's models, for each fold.
            confidence: One-sided, of each bound.
        """


class Agreement(Quality):
    """Share of images with the float model's top-1 class."""

    higher_is_better = True

    def interval(self, outputs: Sequence[Arrays], confidence: float) -> Interval:
        """The share, with its exact bounds."""
        values = agreements(_first(outputs), self.reference)
        hits, count = int(values.sum()), len(values)
        low, high = share_lower_bound(hits, count, confidence), 1 - share_lower_bound(count - hits, count, confidence)
        return Interval(float(values.mean()), standard_error(values), low, high)


class Divergence(Quality):
    """Mean KL divergence from the float model, in nats."""

    def interval(self, outputs: Sequence[Arrays], confidence: float) -> Interval:
        """The mean, with bounds that allow for its skewed values."""
        return mean_interval(kl_divergences(_first(outputs), self.reference), confidence, is_distance=True)


class ToFloat(Quality):
    """A metric of how close outputs are to the float model's, such as the average precision of boxes; a share.

    Of several outputs that it is measured for, the worst counts.

    Args:
        metric: Its name, as in the quality of a result.
        folds: The images, with the outputs of the float model.
        recognized: What the outputs are.

    Raises:
        ValueError: The metric is not for these outputs, or cannot be measured on these images.
    """

    higher_is_better = True

    def __init__(self, metric: str, folds: Sequence[Fold], recognized: RecognizedOutputs) -> None:
        super().__init__(folds)
        self._metric = metric
        self._expected = [row for fold in folds for row in _rows(fold.reference)]
        measures = recognized.closeness()
        self._measures = [
            measure
            for measure in measures
            if np.isfinite(self._value(measure, [measure.summarize(row, row) for row in self._expected]))
        ]
        if not self._measures:
            known = ", ".join(f"{name}: {kind}" for name, kind in recognized.descriptions().items())
            notes = [note for measure in measures for note in measure.notes]
            raise ValueError("; ".join(notes) or f"recognized outputs: {known or 'none'}")

    def interval(self, outputs: Sequence[Arrays], confidence: float) -> Interval:
        """The metric, with the bounds of the jackknife where the images differ.

        A metric of few images is larger than that of many, and its spread seems smaller where it is larger: the lower
        bound begins at the value without that bias, and both lie as far away on the scale of log odds as at the value.
        """
        found = [row for arrays in outputs for row in _rows(arrays)]
        pairs = list(zip(found, self._expected, strict=True))
        summaries = [[measure.summarize(*pair) for pair in pairs] for measure in self._measures]
        parts = [self._of_parts(*known) for known in zip(self._measures, summaries, strict=True)]

        def statistic(images: NDArray[np.intp]) -> float:
            return float(np.min([part(images) for part in parts]))

        count = len(pairs)
        total = statistic(np.arange(count))
        values, bias = jackknife(statistic, total, count)
        # What is promised of images that are all alike.
        proven = share_lower_bound(count, count, confidence)
        if np.ptp(values) < _ALIKE:
            # All images are alike, or a part of them is not enough for the metric: their spread tells nothing.
            return Interval(total, np.inf, proven if total > 1 - _ALIKE else 0.0, 1.0)
        interval = mean_interval(values, confidence)
        low = _moved(total - _BIAS * max(bias, 0.0), interval.low - total)
        if self._different(summaries) < _FEWEST_DIFFERENT:
            low = min(low, proven)
        return dataclasses.replace(interval, low=low, high=_moved(total, interval.high - total))

    def _different(self, summaries: Sequence[Sequence[Any]]) -> int:
        """Number of images with any difference from the float model."""
        values = [
            [math.nan if summary is None else measure.value(summary) for summary in known]
            for measure, known in zip(self._measures, summaries, strict=True)
        ]
        return int((np.array(values) < 1 - _ALIKE).any(axis=0).sum())

    def _value(self, measure: Closeness, summaries: Sequence[Any]) -> float:
        """The metric; not a number where these images, or these outputs, have none."""
        return self._of_parts(measure, summaries)(np.arange(len(summaries)))

    def _of_parts(self, measure: Closeness, summaries: Sequence[Any]) -> Callable[[NDArray[np.intp]], float]:
        """From indices of images to the metric, as `_value`."""
        is_known = np.array([summary is not None for summary in summaries], dtype=np.bool_)
        place = np.cumsum(is_known) - 1
        metrics = measure.metrics_of_parts([summary for summary in summaries if summary is not None])

        def value(images: NDArray[np.intp]) -> float:
            known = place[images[is_known[images]]]
            return metrics(known).get(self._metric, np.nan) if len(known) else np.nan

        return value


class Drop(Quality):
    """By how much a metric is lower than the float model's: in points for a share, else in the metric's own unit.

    Args:
        metric: Name of a registered one.
        folds: The images, with their targets.

    Raises:
        ValueError: The metric is not for the outputs and labels at hand.
    """

    def __init__(self, metric: str, folds: Sequence[Fold]) -> None:
        super().__init__(folds)
        self._metric = METRICS[metric]
        self._unit = 100.0 if metric in SHARES else 1.0
        self._targets = [target for fold in folds for target in fold.targets or ()]
        try:
            self._before = self._measured(self.reference)
            self._before(np.arange(len(self._targets)))
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(str(error)) from error

    def interval(self, outputs: Sequence[Arrays], confidence: float) -> Interval:
        """The drop, with bounds for differences on the same images."""
        count, before, after = len(self._targets), self._before, self._measured(_first(outputs))
        if before.values is None or after.values is None:
            total = before(np.arange(count)) - after(np.arange(count))
            drops = jackknife(lambda images: before(images) - after(images), total, count).values
        else:
            drops = before.values.astype(np.float64) - after.values
            if before.values.dtype == after.values.dtype == np.bool_:
                lost, won = int((drops > 0).sum()), int((drops < 0).sum())
                low = -paired_drop_upper_bound(won, lost, count, confidence)
                high = paired_drop_upper_bound(lost, won, count, confidence)
                return Interval(float(drops.mean()), standard_error(drops), low, high).scaled(self._unit)
        return mean_interval(drops, confidence).scaled(self._unit)

    def _measured(self, outputs: NDArray[Any]) -> _Measured:
        return _Measured(self._metric, outputs, self._targets)


class _Measured:
    """A metric of the outputs of some of the images; `values` are those of each image where it is their mean."""

    def __init__(self, metric: Metric, outputs: NDArray[Any], targets: Sequence[Target]) -> None:
        self.values: NDArray[Any] | None = None
        self._metric, self._outputs, self._targets = metric, outputs, targets
        self._summaries: list[Any] = []
        if isinstance(metric, ImageMetric):
            self.values = metric.values(outputs, stack_targets(targets))
        elif isinstance(metric, SampleMetric):
            self._summaries = [
                metric.summarize(outputs[index : index + 1], target) for index, target in enumerate(targets)
            ]

    def __call__(self, images: NDArray[np.intp]) -> float:
        """The metric.

        Args:
            images: Their indices.
        """
        if self.values is not None:
            return float(self.values[images].mean())
        if isinstance(self._metric, SampleMetric):
            return self._metric.finish([self._summaries[index] for index in images])
        return self._metric(self._outputs[images], stack_targets([self._targets[index] for index in images]))


def _moved(share: float, offset: float) -> float:
    """A share that is moved on the scale of log odds, by what an offset is there."""
    inside = float(np.clip(share, _SURE, 1 - _SURE))
    odds = np.log(inside / (1 - inside)) + offset / (inside * (1 - inside))
    return float(1 / (1 + np.exp(-odds)))


def _rows(outputs: Arrays) -> Iterator[Arrays]:
    """(1, ...) of each output, for each image."""
    return (tuple(values[index : index + 1] for values in outputs) for index in range(len(outputs[0])))


def _first(outputs: Sequence[Arrays]) -> NDArray[Any]:
    """(N, ...) of the first output, for the images of all folds."""
    return np.concatenate([arrays[0] for arrays in outputs])
