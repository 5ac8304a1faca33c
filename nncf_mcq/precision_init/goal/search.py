"""The smallest policy that keeps a goal: by bisection on the average bits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nncf_mcq.config.search_report import GoalReport, GoalTrial
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.goal.quantities import Estimate, Quantity
from nncf_mcq.utils.json_values import finite_or_none

TRIALS: Final = 8
"""Policies that are tried."""

_RESOLUTION: Final = 0.02
"""Average bits to which the smallest size is told."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Trial:
    choice: Mapping[str, int]
    average_bits: float
    estimate: Estimate
    is_kept: bool

    def to_report(self) -> GoalTrial:
        estimate = self.estimate
        return GoalTrial(
            average_bits=self.average_bits,
            value=finite_or_none(estimate.value),
            standard_error=finite_or_none(estimate.error),
            bound=finite_or_none(estimate.bound),
            kept=self.is_kept,
        )


@dataclass(frozen=True)
class SmallestChoice:
    """Outcome of `smallest_choice`.

    Attributes:
        bits: Group name to bits.
        report: What they keep of the goal, and what was tried.
        interrupted: Whether Ctrl-C ended the search for a smaller one.
    """

    bits: Mapping[str, int]
    report: GoalReport
    interrupted: bool = False


def smallest_choice(
    task: PrecisionTask, quantity: Quantity, choose: Callable[[Constraint], Mapping[str, int]]
) -> SmallestChoice:
    """The smallest choice of bits that keeps a goal, of those that an initializer makes at several sizes.

    Each policy is run on the search images with weights that were not made from them, and its bound decides. The
    interval between a size that keeps the goal and one that does not is halved; sizes are average bits of the weights.
    Where nothing keeps the goal, not even the largest widths, the policy that is nearest to it is the answer, and a
    warning says so. Ctrl-C returns the smallest so far that keeps it.

    Args:
        task: The model, the widths and the evaluator, which counts the policies that are tried.
        quantity: What the goal limits.
        choose: From the limit on the size to the bits of each group.

    Raises:
        KeyboardInterrupt: Ctrl-C, and nothing has kept the goal yet.
    """
    smallest = {group: widths[0] for group, widths in task.choices.items()}
    tried: dict[tuple[int, ...], _Trial] = {}

    def attempt(choice: Mapping[str, int]) -> _Trial:
        key = tuple(choice[group] for group in task.choices)
        if key not in tried:
            policy = task.policy(choice)
            estimate = quantity.estimate(task.evaluator.outputs(policy))
            tried[key] = _Trial(choice, task.costs.average_bits(policy), estimate, quantity.is_kept(estimate))
            task.progress(len(tried), TRIALS)
        return tried[key]

    best: _Trial | None = None
    interrupted = False
    low, high = (task.costs.average_bits(task.policy(choice)) for choice in (smallest, task.widest_quantized))
    try:
        # One trial is left for the largest widths, until something has kept the goal.
        while len(tried) < TRIALS - (best is None) and high - low > _RESOLUTION:
            limit = (low + high) / 2
            trial = attempt(choose(task.costs.average_bits_limit(limit, task.choices)))
            if trial.is_kept:
                best, high = trial, trial.average_bits
            else:
                low = limit
        if best is None:
            attempt(task.widest_quantized)
            best = min(tried.values(), key=lambda trial: (not trial.is_kept, quantity.excess(trial.estimate)))
    except KeyboardInterrupt:
        if best is None:
            raise
        interrupted = True
        _logger.warning("search interrupted: the smallest policy so far that keeps the goal is used")
    if not best.is_kept:
        _logger.warning(
            "goal: %s of %g is missed by %.3g, also with the largest bit-widths: at %g %% confidence %s",
            quantity.goal.quantity,
            quantity.goal.limit,
            quantity.excess(best.estimate),
            100 * quantity.goal.confidence,
            f"it is {best.estimate.bound:.4g} on {quantity.images} search images",
        )
    return SmallestChoice(best.choice, _report(quantity, best, tried.values()), interrupted)


def _report(quantity: Quantity, best: _Trial, tried: Iterable[_Trial]) -> GoalReport:
    goal = quantity.goal
    return GoalReport(
        quantity=goal.quantity,
        limit=goal.limit,
        confidence=goal.confidence,
        **best.to_report().to_dict(),
        images=quantity.images,
        tried=tuple(trial.to_report() for trial in tried),
    )
