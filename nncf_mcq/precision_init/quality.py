"""How close a policy comes to the float model, as people measure it: with the bounds of a confidence interval."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.data.splits import Target
from nncf_mcq.metrics import METRICS, SHARES, stack_targets
from nncf_mcq.metrics.bounds import mean_upper_bound, paired_drop_upper_bound, share_lower_bound
from nncf_mcq.metrics.closeness import Closeness
from nncf_mcq.metrics.jackknife import jackknife_values
from nncf_mcq.metrics.metrics import ImageMetric, Metric, SampleMetric, agreements, kl_divergences
from nncf_mcq.metrics.quality import RecognizedOutputs
from nncf_mcq.model.samples import Arrays
from nncf_mcq.precision_init.estimate import standard_error
from nncf_mcq.precision_init.evaluator import Fold

_ALIKE: Final = 1e-9
"""Difference of shares that is one of rounding."""


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
        """The metric, with the bounds of the jackknife where the images differ."""
        found = [row for arrays in outputs for row in _rows(arrays)]
        pairs = list(zip(found, self._expected, strict=True))
        summaries = [[measure.summarize(*pair) for pair in pairs] for measure in self._measures]

        def statistic(images: NDArray[np.intp]) -> float:
            found = zip(self._measures, summaries, strict=True)
            return float(np.min([self._value(measure, [known[index] for index in images]) for measure, known in found]))

        count = len(pairs)
        total = statistic(np.arange(count))
        values = jackknife_values(statistic, total, count)
        if np.ptp(values) < _ALIKE:
            # All images are alike, or a part of them is not enough for the metric: their spread tells nothing.
            low = share_lower_bound(count, count, confidence) if total > 1 - _ALIKE else 0.0
            return Interval(total, np.inf, low, 1.0)
        interval = mean_interval(values, confidence)
        return dataclasses.replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))

    def _value(self, measure: Closeness, summaries: Sequence[Any]) -> float:
        """The metric; not a number where these images, or these outputs, have none."""
        known = [summary for summary in summaries if summary is not None]
        return measure.metrics(known).get(self._metric, np.nan) if known else np.nan


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
            drops = jackknife_values(lambda images: before(images) - after(images), total, count)
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


def _rows(outputs: Arrays) -> Iterator[Arrays]:
    """(1, ...) of each output, for each image."""
    return (tuple(values[index : index + 1] for values in outputs) for index in range(len(outputs[0])))


def _first(outputs: Sequence[Arrays]) -> NDArray[Any]:
    """(N, ...) of the first output, for the images of all folds."""
    return np.concatenate([arrays[0] for arrays in outputs])
