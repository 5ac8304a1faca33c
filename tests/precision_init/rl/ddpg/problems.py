"""Problems whose policies are scored by a function: no model is run."""

from __future__ import annotations

from collections.abc import Sequence

from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.search import SearchProblem, SearchSpace
from tests.models import countable_model, layer

WIDTHS = (2, 3, 4, 5, 6, 7, 8)

FINE_WIDTHS = range(2, 10**6)
"""More than there are, so that proposals show the slightest change of what the agent knows."""


def counted_problem(groups: int = 6, trials: int = 60, bits: Sequence[int] = WIDTHS) -> SearchProblem:
    """Layers of rising size and no budget."""
    quantizable = countable_model([layer(f"layer{index}", 100 + 37 * index) for index in range(groups)])
    evaluator = Evaluator([], OutputScores([]), threads=1, batch_size=1)
    task = PrecisionTask(
        quantizable=quantizable,
        choices=quantizable.choices(bits, (8,)),
        activation_bits=8,
        errors={},
        costs=CostModel(quantizable, {}, lambda: 0),
        evaluator=evaluator,
    )
    return SearchProblem(
        task=task,
        space=SearchSpace(quantizable.choices(bits, (8,))),
        constraints=[],
        sensitivities=None,
        losses={},
        start=None,
        trials=trials,
    )
