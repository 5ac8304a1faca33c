"""What a goal limits: its value on the search images, the standard error, and a one-sided bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.config.goal import DROP, Goal
from nncf_mcq.config.paths import GOAL_PATH
from nncf_mcq.data.splits import Target
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics import METRICS, SHARES, is_classifier, stack_targets
from nncf_mcq.metrics.bounds import mean_upper_bound, paired_drop_upper_bound, share_lower_bound
from nncf_mcq.metrics.jackknife import jackknife_values
from nncf_mcq.metrics.metrics import ImageMetric, Metric, SampleMetric, agreements, kl_divergences
from nncf_mcq.model.samples import Arrays
from nncf_mcq.precision_init.estimate import standard_error
from nncf_mcq.precision_init.evaluator import Fold

_SELECTION = 2
"""Factor by which bounds are less often wrong than is asked for: the smallest of several policies is also the luckiest.

They differ on few images, so that it is far from their number. Without it, bounds at 95 % hold in 90 to 95 % of draws.
"""


@dataclass(frozen=True)
class Estimate:
    """Estimate of a quantity from the search images.

    Attributes:
        value: On these images.
        error: Its standard error.
        bound: What it is at worst on other images of the same kind, at the confidence of the goal for the policy that
            is chosen.
    """

    value: float
    error: float
    bound: float


class Quantity(ABC):
    """Quantity of a policy's first output, over the images of all folds.

    Args:
        goal: Its limit and the confidence of bounds.
        folds: The images, with the outputs of the float model.
    """

    def __init__(self, goal: Goal, folds: Sequence[Fold]) -> None:
        self.goal = goal
        self.confidence = 1 - (1 - goal.confidence) / _SELECTION
        self.reference = np.concatenate([fold.reference[0] for fold in folds])

    @abstractmethod
    def estimate(self, outputs: Sequence[Arrays]) -> Estimate:
        """The quantity of a policy.

        Args:
            outputs: (N, ...) for each output of the policy's models, for each fold.
        """

    def is_kept(self, estimate: Estimate) -> bool:
        """Whether the bound of an estimate is within the limit."""
        return estimate.bound <= self.goal.limit

    def excess(self, estimate: Estimate) -> float:
        """By how much the bound misses the limit."""
        return estimate.bound - self.goal.limit


class Agreement(Quantity):
    """Share of images with the float model's top-1 class."""

    def estimate(self, outputs: Sequence[Arrays]) -> Estimate:
        """The share, with its exact lower bound."""
        values = agreements(_first(outputs), self.reference)
        bound = share_lower_bound(int(values.sum()), len(values), self.confidence)
        return Estimate(float(values.mean()), standard_error(values), bound)

    def is_kept(self, estimate: Estimate) -> bool:
        """Whether the bound of an estimate is within the limit."""
        return estimate.bound >= self.goal.limit

    def excess(self, estimate: Estimate) -> float:
        """By how much the bound misses the limit."""
        return self.goal.limit - estimate.bound


class Divergence(Quantity):
    """Mean KL divergence from the float model, in nats."""

    def estimate(self, outputs: Sequence[Arrays]) -> Estimate:
        """The mean, with an upper bound that allows for its skewed values."""
        values = kl_divergences(_first(outputs), self.reference)
        return Estimate(float(values.mean()), standard_error(values), mean_upper_bound(values, self.confidence))


class Drop(Quantity):
    """By how much a metric is lower than the float model's: in points for a share, else in the metric's own unit.

    Args:
        goal: Names the metric.
        folds: The images, with their targets.

    Raises:
        ConfigError: The metric is not for the outputs and labels at hand.
    """

    def __init__(self, goal: Goal, folds: Sequence[Fold]) -> None:
        super().__init__(goal, folds)
        assert goal.metric is not None
        self._metric = METRICS[goal.metric]
        self._unit = 100.0 if goal.metric in SHARES else 1.0
        targets = [target for fold in folds for target in fold.targets or ()]
        if len(targets) != len(self.reference):
            found = f"{len(self.reference)} outputs for {len(targets)} labels"
            raise ConfigError(GOAL_PATH, found, "agreement or kl for a model with a batch of its own")
        self._targets = targets
        try:
            self._before = self._measured(self.reference)
            self._before(np.arange(len(targets)))
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            allowed = f"the drop of a metric for the outputs and labels of the search images ({error})"
            raise ConfigError(GOAL_PATH, goal.quantity, allowed) from error

    def estimate(self, outputs: Sequence[Arrays]) -> Estimate:
        """The drop, with the bound for differences on the same images."""
        count, unit = len(self._targets), self._unit
        before, after = self._before, self._measured(_first(outputs))
        if before.values is None or after.values is None:
            total = before(np.arange(count)) - after(np.arange(count))
            drops = jackknife_values(lambda images: before(images) - after(images), total, count)
        else:
            drops = before.values.astype(np.float64) - after.values
            if before.values.dtype == after.values.dtype == np.bool_:
                lost, won = int((drops > 0).sum()), int((drops < 0).sum())
                bound = paired_drop_upper_bound(lost, won, count, self.confidence)
                return Estimate(unit * float(drops.mean()), unit * standard_error(drops), unit * bound)
        bound = mean_upper_bound(drops, self.confidence)
        return Estimate(unit * float(drops.mean()), unit * standard_error(drops), unit * bound)

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


def check_goal(goal: Goal | None, *, has_targets: bool) -> None:
    """Finds mistakes that can be told before anything is computed.

    Args:
        goal: Of the configuration, if any.
        has_targets: Whether the search images have labels.

    Raises:
        ConfigError: There is no such metric, or there are no labels for it.
    """
    if goal is None or goal.metric is None:
        return
    if goal.metric not in METRICS:
        allowed = ", ".join(f"{name}{DROP}" for name in sorted(METRICS))
        raise ConfigError(GOAL_PATH, goal.quantity, f"agreement, kl, {allowed}")
    if not has_targets:
        allowed = "agreement or kl: the search images have no labels (search_targets in Python)"
        raise ConfigError(GOAL_PATH, goal.quantity, allowed)


def find_quantity(goal: Goal, folds: Sequence[Fold]) -> Quantity:
    """The quantity that a goal limits.

    Args:
        goal: Of the configuration; `check_goal` accepts it.
        folds: The search images, with the outputs of the float model.

    Raises:
        ConfigError: It is not for the outputs of this model.
    """
    if goal.metric is not None:
        return Drop(goal, folds)
    if not is_classifier(folds[0].reference[0]):
        allowed = f"the drop of a metric, e.g. map50{DROP}: the model is no classifier"
        raise ConfigError(GOAL_PATH, goal.quantity, allowed)
    return Agreement(goal, folds) if goal.quantity == "agreement" else Divergence(goal, folds)


def _first(outputs: Sequence[Arrays]) -> NDArray[Any]:
    """(N, ...) of the first output, for the images of all folds."""
    return np.concatenate([arrays[0] for arrays in outputs])
