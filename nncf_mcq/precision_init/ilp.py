"""Integer linear programming over separable sensitivities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from nncf_mcq.costs import Constraint
from nncf_mcq.errors import BudgetError
from nncf_mcq.policy import Budget
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.sensitivity import Sensitivities, measure_sensitivities
from nncf_mcq.registry import PRECISION_INITIALIZERS

_TIGHTENINGS = 20
_SOLVER_TOLERANCE = 1e-7


@PRECISION_INITIALIZERS.register
class IlpPrecision(PrecisionInitializer):
    """The policy of least summed sensitivity under the budget, exact for that sum.

    Source: Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021. Solved with HiGHS through SciPy.
    """

    class Parameters(PrecisionInitializer.Parameters):
        """`budget`: the limits that the policy must keep; `measured_widths`: see `measure_sensitivities`."""

        type: Literal["ilp"] = "ilp"
        budget: Budget
        measured_widths: PositiveInt | None = Field(
            default=3, description="How many of the smallest widths are scored for each layer; null scores all."
        )

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Measures the sensitivities, solves, and returns the optimum."""
        constraints = task.costs.constraints(self.parameters.budget, task.bits)
        sensitivities = measure_sensitivities(task, self.parameters.measured_widths)
        choice = solve(sensitivities, constraints)
        details = {
            "sensitivities": {group: {str(b): s for b, s in values.items()} for group, values in sensitivities.items()},
            "predicted_score": sum(sensitivities[group][bits] for group, bits in choice.items()),
        }
        return PrecisionResult(task.policy(choice), details)


def solve(sensitivities: Sensitivities, constraints: Sequence[Constraint]) -> dict[str, int]:
    """The bits of each group that minimize the summed sensitivity under linear constraints.

    Args:
        sensitivities: Group and width to what is summed; every group has the same widths.
        constraints: Each must hold.

    Returns:
        Group name to bits.

    Raises:
        BudgetError: No choice meets all constraints together.
    """
    variables = [(group, bits) for group, values in sensitivities.items() for bits in sorted(values)]
    index = {variable: position for position, variable in enumerate(variables)}
    objective = np.array([sensitivities[group][bits] for group, bits in variables])
    rows = len(sensitivities) + len(constraints)
    matrix = lil_array((rows, len(variables)))
    lower, upper = np.full(rows, -np.inf), np.full(rows, np.inf)
    for row, (group, values) in enumerate(sensitivities.items()):
        for bits in values:
            matrix[row, index[group, bits]] = 1
        lower[row] = upper[row] = 1
    for row, constraint in enumerate(constraints, start=len(sensitivities)):
        # Scaled to about 1, so that the solver's absolute tolerance means the same for bits, bytes and operations.
        scale = max(constraint.limit, 1.0)
        for group, bits in variables:
            matrix[row, index[group, bits]] = constraint.cost[group][bits] / scale
        upper[row] = (constraint.limit - constraint.fixed) / scale
    for _ in range(_TIGHTENINGS):
        result = milp(
            objective / max(objective.max(), 1e-30),
            constraints=LinearConstraint(matrix.tocsr(), lower, upper),
            integrality=np.ones(len(variables)),
            bounds=Bounds(0, 1),
            # Without presolve HiGHS prints nothing; the problems are small.
            options={"mip_rel_gap": 1e-6, "presolve": False},
        )
        if result.x is None:
            break
        chosen = {group: bits for (group, bits), value in zip(variables, result.x, strict=True) if value > 0.5}
        excesses = [max(constraint.total(chosen) - constraint.limit, 0.0) for constraint in constraints]
        if all(constraint.is_met(chosen) for constraint in constraints):
            return chosen
        # The solver keeps limits up to its tolerance only: the limit is lowered by what it took too much.
        for row, (constraint, excess) in enumerate(zip(constraints, excesses, strict=True), start=len(sensitivities)):
            if excess > 0:
                upper[row] -= max(1.01 * excess / max(constraint.limit, 1.0), _SOLVER_TOLERANCE)
    # A limit that only the cheapest choice meets leaves nothing to lower.
    for constraint in constraints:
        cheapest = {group: min(costs, key=costs.__getitem__) for group, costs in constraint.cost.items()}
        if all(other.is_met(cheapest) for other in constraints):
            return cheapest
    paths = ", ".join(constraint.path for constraint in constraints)
    raise BudgetError(f"{paths}: no policy meets these limits together")
