"""Integer linear programming over separable sensitivities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from nncf_mcq.errors import BudgetError
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.separable import SeparablePrecision
from nncf_mcq.precision_init.shrinkage import Sensitivities
from nncf_mcq.utils.native_output import quiet_output

_TIGHTENINGS = 20
_SOLVER_TOLERANCE = 1e-7


@PRECISION_INITIALIZERS.register
class IlpPrecision(SeparablePrecision):
    """The policy of least summed sensitivity under the budget, exact for that sum.

    Source: Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021. Solved with HiGHS through SciPy.
    """

    class Parameters(SeparablePrecision.Parameters):
        """`budget` or `goal`: what the policy must keep; `measured_widths`: see `measure_sensitivities`."""

        type: Literal["ilp"] = "ilp"

    def choose(
        self, task: PrecisionTask, sensitivities: Sensitivities, constraints: Sequence[Constraint]
    ) -> Mapping[str, int]:
        """The optimum."""
        return solve(sensitivities, constraints)


def solve(sensitivities: Sensitivities, constraints: Sequence[Constraint]) -> dict[str, int]:
    """The bits of each group that minimize the summed sensitivity under the constraints.

    Products of two groups' bits are made linear exactly: each pair of groups gets a variable for each pair of widths,
    and their sums over the widths of one group are the other's choice (Adams and Sherali, "A Tight Linearization and an
    Algorithm for Zero-One Quadratic Programming Problems", Management Science 32(10), 1986).

    Args:
        sensitivities: Group and width to what is summed.
        constraints: Each must hold.

    Returns:
        Group name to bits.

    Raises:
        BudgetError: No choice meets all constraints together.
    """
    program = _Program(sensitivities, constraints)
    for _ in range(_TIGHTENINGS):
        chosen = program.solve()
        if chosen is None:
            break
        if all(constraint.is_met(chosen) for constraint in constraints):
            return chosen
        program.tighten(chosen)
    # A limit that only the cheapest choice meets leaves nothing to lower.
    cheapest = {group: min(values) for group, values in sensitivities.items()}
    if all(constraint.is_met(cheapest) for constraint in constraints):
        return cheapest
    paths = ", ".join(constraint.path for constraint in constraints)
    raise BudgetError(f"{paths}: no policy meets these limits together")


class _Program:
    """The integer program: one variable for each group and width, and one for each pair of a product's widths."""

    def __init__(self, sensitivities: Sensitivities, constraints: Sequence[Constraint]) -> None:
        self._constraints = constraints
        self._choices = {group: sorted(values) for group, values in sensitivities.items()}
        self._single = {
            variable: position
            for position, variable in enumerate(
                (group, bits) for group, widths in self._choices.items() for bits in widths
            )
        }
        pairs = dict.fromkeys(pair for constraint in constraints for pair in constraint.products)
        self._pair = {
            variable: len(self._single) + position
            for position, variable in enumerate(
                (left, low, right, high)
                for left, right in pairs
                for low in self._choices[left]
                for high in self._choices[right]
            )
        }
        objective = np.zeros(len(self._single) + len(self._pair))
        for (group, bits), position in self._single.items():
            objective[position] = sensitivities[group][bits]
        self._objective = objective / max(objective.max(), 1e-30)
        rows = [*self._limits(), *self._one_each(), *self._pairs(pairs)]
        matrix = lil_array((len(rows), len(objective)))
        for row, (entries, _, _) in enumerate(rows):
            for position, value in entries.items():
                matrix[row, position] = value
        self._matrix = matrix.tocsr()
        self._lower = np.array([lower for _, lower, _ in rows])
        self._upper = np.array([upper for _, _, upper in rows])

    def solve(self) -> dict[str, int] | None:
        """The optimum, which keeps the limits up to the solver's tolerance; None where there is none."""
        with quiet_output():
            result = milp(
                self._objective,
                constraints=LinearConstraint(self._matrix, self._lower, self._upper),
                integrality=np.arange(len(self._objective)) < len(self._single),
                bounds=Bounds(0, 1),
                options={"mip_rel_gap": 1e-6},
            )
        if result.x is None:
            return None
        return {group: bits for (group, bits), position in self._single.items() if result.x[position] > 0.5}

    def tighten(self, chosen: Mapping[str, int]) -> None:
        """Lowers each limit by what the solver's choice takes too much."""
        for row, constraint in enumerate(self._constraints):
            excess = constraint.total(chosen) - constraint.limit
            if excess > 0:
                self._upper[row] -= max(1.01 * excess / _unit(constraint), _SOLVER_TOLERANCE)

    def _limits(self) -> Iterator[_Row]:
        for constraint in self._constraints:
            unit = _unit(constraint)
            entries = {index: constraint.cost[group][bits] / unit for (group, bits), index in self._single.items()}
            for (left, low, right, high), index in self._pair.items():
                entries[index] = constraint.products.get((left, right), 0.0) * low * high / unit
            yield entries, -np.inf, (constraint.limit - constraint.fixed) / unit

    def _one_each(self) -> Iterator[_Row]:
        for group, widths in self._choices.items():
            yield {self._single[group, bits]: 1.0 for bits in widths}, 1.0, 1.0

    def _pairs(self, pairs: Iterable[tuple[str, str]]) -> Iterator[_Row]:
        for left, right in pairs:
            for low in self._choices[left]:
                entries = {self._pair[left, low, right, high]: 1.0 for high in self._choices[right]}
                yield {**entries, self._single[left, low]: -1.0}, 0.0, 0.0
            for high in self._choices[right]:
                entries = {self._pair[left, low, right, high]: 1.0 for low in self._choices[left]}
                yield {**entries, self._single[right, high]: -1.0}, 0.0, 0.0


_Row = tuple[dict[int, float], float, float]
"""Coefficients by variable, lower and upper bound."""


def _unit(constraint: Constraint) -> float:
    """Divisor of a constraint, so that the solver's tolerance means the same for bits, bytes and operations."""
    return max(constraint.limit, 1.0)
