"""Problems whose policies are scored by a function: no model is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.search import SearchProblem, SearchSpace
from nncf_mcq.precision_init.search.processes import POLICY_ATTRIBUTE
from tests.models import countable_model, layer

ScoreOf = Callable[[NDArray[np.int64]], float]

WIDTHS = (2, 3, 4, 5, 6, 7, 8)

FINE_WIDTHS = range(2, 10**5)
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


def split(bits: NDArray[np.int64]) -> float:
    """Least where the first half of the layers has 2 bits and the others 8: a middle width everywhere is bad."""
    best = np.where(np.arange(len(bits)) < len(bits) / 2, 2, 8)
    return float(np.square(bits - best).sum())


def random_trial(space: SearchSpace, seed: int, score_of: ScoreOf = split, **changes: Any) -> FrozenTrial:
    choice = dict(zip(space.groups, bits_of(space, seed), strict=True))
    values: dict[str, Any] = {
        "params": space.parameters(choice),
        "distributions": space.distributions,
        "value": score_of(np.array(list(choice.values()))),
        "user_attrs": {POLICY_ATTRIBUTE: choice},
    }
    return optuna.trial.create_trial(**{**values, **changes})


def bits_of(space: SearchSpace, seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    return [widths[random.integers(len(widths))] for widths in space.choices.values()]
