"""What a goal limits: its value on the search images, the standard error, and a one-sided bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nncf_mcq.config.goal import CLOSENESS, DROP, Goal
from nncf_mcq.config.paths import GOAL_PATH
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics import METRICS, is_classifier
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.samples import Arrays
from nncf_mcq.precision_init.evaluator import Fold
from nncf_mcq.precision_init.quality import Agreement, Divergence, Drop, Quality, ToFloat

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


class Quantity:
    """Quality of a policy, and whether it keeps a goal.

    Args:
        goal: The limit and the confidence of bounds.
        quality: What is limited.
    """

    def __init__(self, goal: Goal, quality: Quality) -> None:
        self.goal = goal
        self.confidence = 1 - (1 - goal.confidence) / _SELECTION
        self.images = len(quality.reference)
        self._quality = quality

    def estimate(self, outputs: Sequence[Arrays]) -> Estimate:
        """The quality of a policy, with the bound on its worse side.

        Args:
            outputs: (N, ...) for each output of the policy's models, for each fold.
        """
        found = self._quality.interval(outputs, self.confidence)
        return Estimate(found.value, found.error, found.low if self._quality.higher_is_better else found.high)

    def is_kept(self, estimate: Estimate) -> bool:
        """Whether the bound of an estimate is within the limit."""
        return self.excess(estimate) <= 0

    def excess(self, estimate: Estimate) -> float:
        """By how much the bound misses the limit."""
        excess = estimate.bound - self.goal.limit
        return -excess if self._quality.higher_is_better else excess


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
        raise ConfigError(GOAL_PATH, goal.quantity, f"agreement, kl, {', '.join(CLOSENESS)}, {allowed}")
    if not has_targets:
        others = f"{', '.join(('agreement', 'kl', *CLOSENESS[:-1]))} or {CLOSENESS[-1]}"
        allowed = f"{others}: the search images have no labels (search_targets in Python)"
        raise ConfigError(GOAL_PATH, goal.quantity, allowed)


def check_outputs(goal: Goal | None, recognized: RecognizedOutputs, first: NDArray[Any]) -> None:
    """Finds a goal that is not for the outputs of a model, before anything is computed.

    Args:
        goal: Of the configuration, if any.
        recognized: What the outputs are.
        first: The first output for a sample, (1, ...).

    Raises:
        ConfigError: It is not for these outputs.
    """
    if goal is None or goal.metric is not None:
        return
    if goal.quantity in CLOSENESS:
        if not any(goal.quantity in measure.metric_names for measure in recognized.closeness()):
            known = ", ".join(f"{name}: {kind}" for name, kind in recognized.descriptions().items())
            allowed = f"a quantity that the outputs of this model have (recognized outputs: {known or 'none'})"
            raise ConfigError(GOAL_PATH, goal.quantity, allowed)
    elif not is_classifier(first):
        raise _no_classifier(goal)


def find_quantity(goal: Goal, folds: Sequence[Fold], recognize: Callable[[], RecognizedOutputs]) -> Quantity:
    """The quantity that a goal limits.

    Args:
        goal: Of the configuration; `check_goal` accepts it.
        folds: The search images, with the outputs of the float model.
        recognize: Finds out what the outputs of the float model are.

    Raises:
        ConfigError: It is not for the outputs of this model.
    """
    if goal.metric is not None:
        return Quantity(goal, _drop(goal, goal.metric, folds))
    if goal.quantity in CLOSENESS:
        return Quantity(goal, _to_float(goal, folds, recognize))
    if not is_classifier(folds[0].reference[0]):
        raise _no_classifier(goal)
    return Quantity(goal, Agreement(folds) if goal.quantity == "agreement" else Divergence(folds))


def _no_classifier(goal: Goal) -> ConfigError:
    allowed = f"{', '.join(CLOSENESS)}, or the drop of a metric, e.g. map50{DROP}: the model is no classifier"
    return ConfigError(GOAL_PATH, goal.quantity, allowed)


def _to_float(goal: Goal, folds: Sequence[Fold], recognize: Callable[[], RecognizedOutputs]) -> ToFloat:
    lengths = {len(values) for fold in folds for values in fold.reference}
    if not lengths <= {len(fold.images) for fold in folds}:
        allowed = "agreement, kl, or a budget: the outputs do not have one row for each image"
        raise ConfigError(GOAL_PATH, goal.quantity, allowed)
    try:
        return ToFloat(goal.quantity, folds, recognize())
    except ValueError as error:
        allowed = f"a quantity that the outputs of this model have on the search images ({error})"
        raise ConfigError(GOAL_PATH, goal.quantity, allowed) from error


def _drop(goal: Goal, metric: str, folds: Sequence[Fold]) -> Drop:
    outputs = sum(len(fold.reference[0]) for fold in folds)
    labels = sum(len(fold.targets or ()) for fold in folds)
    if outputs != labels:
        found = f"{outputs} outputs for {labels} labels"
        raise ConfigError(GOAL_PATH, found, "agreement or kl for a model with a batch of its own")
    try:
        return Drop(metric, folds)
    except ValueError as error:
        allowed = f"the drop of a metric for the outputs and labels of the search images ({error})"
        raise ConfigError(GOAL_PATH, goal.quantity, allowed) from error
