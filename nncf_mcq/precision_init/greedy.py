"""Widths lowered one after the other by their sensitivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.search import Repair, SearchSpace
from nncf_mcq.precision_init.separable import SeparablePrecision
from nncf_mcq.precision_init.shrinkage import Sensitivities


@PRECISION_INITIALIZERS.register
class GreedyPrecision(SeparablePrecision):
    """Lowers widths from the largest ones on, least sensitivity per saved cost first, until the budget is kept.

    Source: Pandey et al., "A Practical Mixed Precision Algorithm for Post-Training Quantization", 2023
    (arXiv:2302.05397): a list of sensitivities measured one at a time, then a greedy descent from the largest
    precision. `Repair` documents how steps are chosen and the last ones taken back.
    """

    class Parameters(SeparablePrecision.Parameters):
        """`budget` or `goal`: what the policy must keep; `measured_widths`: see `measure_sensitivities`."""

        type: Literal["greedy"] = "greedy"

    def choose(
        self, task: PrecisionTask, sensitivities: Sensitivities, constraints: Sequence[Constraint]
    ) -> Mapping[str, int]:
        """Lowers the widths."""
        return Repair(SearchSpace(task.choices), constraints, sensitivities)(task.widest)
