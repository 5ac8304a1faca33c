from __future__ import annotations

import itertools

import numpy as np
import optuna
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq.precision_init.search import SearchSpace
from tests.precision_init.search.problems import Problem, problems

SPACE = SearchSpace(dict.fromkeys(("first", "second"), (2, 4, 8)))


def test_parameters_are_indices_of_widths_and_named_after_the_groups() -> None:
    study = optuna.create_study()
    study.enqueue_trial(SPACE.parameters({"first": 8, "second": 2}))
    trial = study.ask()
    assert SPACE.suggest(trial) == {"first": 8, "second": 2}
    assert trial.params == {"first": 2, "second": 0}
    assert trial.distributions == SPACE.distributions


@given(problems(), st.integers(0, 100))
def test_random_choices_reach_every_feasible_policy_once_and_then_none(problem: Problem, seed: int) -> None:
    space, constraints, _ = problem
    seen: list[tuple[int, ...]] = []
    random = np.random.default_rng(seed)
    while (found := space.random_choice(random, constraints, lambda c: tuple(c.values()) not in seen)) is not None:
        assert tuple(found) == space.groups
        seen.append(tuple(found.values()))
    choices = itertools.product(*space.choices.values())
    feasible = [c for c in choices if all(k.is_met(dict(zip(space.groups, c, strict=True))) for k in constraints)]
    assert sorted(seen) == sorted(feasible)


def test_random_choices_vary_with_the_seed() -> None:
    space = SearchSpace(dict.fromkeys("abcdefgh", (2, 4, 8)))
    found = [space.random_choice(np.random.default_rng(seed), [], lambda choice: True) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
