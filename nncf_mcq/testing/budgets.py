"""Budgets of the small network, from the smallest to the largest value that its policies reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from nncf_mcq.config.budget import Budget
from nncf_mcq.testing.tasks import Space, finished_search

LIMITS: Mapping[str, float] = {
    "weight_size.average_bits": 1e3,
    "weight_size.ratio": 1e3,
    "weight_size.bytes": 10**12,
    "bops.total": 1e18,
    "bops.ratio": 1e3,
}
"""Every limit whose costs are exact, by its place in a budget, with a value that excludes nothing."""


def limit_of(limit: str, fraction: float, space: Space) -> float:
    """The value at a fraction of the way from the smallest to the largest total of any policy, in the JSON's unit."""
    task = finished_search({"type": "uniform", "bits": min(space.weight_bits)}, space).task
    everything = Budget.model_validate(_budget(limit, LIMITS[limit]))
    (constraint,) = task.costs.constraints(everything, task.choices)
    smallest, largest = constraint.reachable
    return (smallest + fraction * (largest - smallest)) / constraint.divisor


def budget_at(limit: str, fraction: float, space: Space, *, factor: float = 1.0) -> dict[str, Any]:
    """JSON of a budget with one limit.

    Args:
        limit: One of `LIMITS`.
        fraction: As in `limit_of`.
        space: The bit-widths to choose from.
        factor: On the value: below 1 a limit at fraction 0 is out of reach.
    """
    value = limit_of(limit, fraction, space) * factor
    return _budget(limit, math.ceil(value) if limit.endswith("bytes") else value)


def join_budgets(budgets: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One budget with the limits of several, each of another section."""
    return {section: value for budget in budgets for section, value in budget.items()}


def _budget(limit: str, value: float) -> dict[str, Any]:
    section, key = limit.split(".")
    return {section: {key: value}}
