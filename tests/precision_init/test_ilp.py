from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import Budget, BudgetError
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.ilp import IlpPrecision, solve
from nncf_mcq.precision_init.sensitivity import measure_sensitivities
from tests.models import called_once, details_of, make_task

Costs = Mapping[str, Mapping[int, float]]


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, dict[int, float]], list[Constraint]]:
    groups = [f"group{index}" for index in range(draw(st.integers(1, 5)))]
    widths = draw(st.lists(st.integers(2, 8), min_size=1, max_size=3, unique=True))
    sensitivities = {group: {bits: draw(st.integers(0, 50)) / 7 for bits in widths} for group in groups}
    constraints = []
    for index in range(draw(st.integers(1, 2))):
        costs = {group: {bits: float(draw(st.integers(0, 30))) for bits in widths} for group in groups}
        fixed = float(draw(st.integers(0, 30)))
        smallest, largest = Constraint("", "", costs, fixed, 0.0).reachable
        # From a little below what is possible to more than is needed.
        limit = smallest + draw(st.floats(-0.1, 1.1)) * (largest - smallest)
        constraints.append(Constraint(f"budget{index}", "units", costs, fixed, float(max(1, round(limit)))))
    return sensitivities, constraints


def feasible_choices(sensitivities: Costs, constraints: list[Constraint]) -> list[dict[str, int]]:
    choices = (dict(zip(sensitivities, bits, strict=True)) for bits in itertools.product(*sensitivities.values()))
    return [choice for choice in choices if all(item.total(choice) <= item.limit for item in constraints)]


@given(problems())
def test_the_solution_is_the_best_of_all_policies_that_keep_every_limit(
    problem: tuple[dict[str, dict[int, float]], list[Constraint]],
) -> None:
    sensitivities, constraints = problem
    choices = feasible_choices(sensitivities, constraints)
    if not choices:
        with pytest.raises(BudgetError, match="no policy meets these limits together"):
            solve(sensitivities, constraints)
        return
    best = min(sum(sensitivities[group][bits] for group, bits in choice.items()) for choice in choices)
    found = solve(sensitivities, constraints)
    assert found in choices
    assert sum(sensitivities[group][bits] for group, bits in found.items()) == pytest.approx(best, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_solution_is_the_optimum_and_not_only_near_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups, widths = [f"group{index}" for index in range(7)], (2, 4, 8)
    sizes, slopes = random.integers(10, 1000, 7), random.lognormal(0, 1, 7)
    costs = {group: {bits: float(size * bits) for bits in widths} for group, size in zip(groups, sizes, strict=True)}
    sensitivities = {
        group: {bits: float(slope / bits) for bits in widths} for group, slope in zip(groups, slopes, strict=True)
    }
    constraint = Constraint("budget", "bits", costs, 500.0, 500.0 + float(sizes.sum()) * 4)
    choices = feasible_choices(sensitivities, [constraint])
    best = min(choices, key=lambda choice: sum(sensitivities[group][bits] for group, bits in choice.items()))
    assert solve(sensitivities, [constraint]) == best


def test_limits_that_exclude_each_other_are_named() -> None:
    costs = {"only": {2: 2.0, 8: 8.0}}
    limits = [
        Constraint("budget.weight_size", "bits", costs, 0.0, 4.0),
        Constraint("budget.bops", "operations", {"only": {2: 9.0, 8: 1.0}}, 0.0, 4.0),
    ]
    with pytest.raises(BudgetError, match=r"^budget.weight_size, budget.bops: no policy meets these limits together$"):
        solve({"only": {2: 1.0, 8: 0.0}}, limits)


@pytest.mark.parametrize("size", [10**6, 10**7, 10**8])
def test_a_limit_that_is_missed_by_one_of_very_many_bits_is_kept(size: int) -> None:
    # 8 bits exceed the limit by less than the solver's relative tolerance.
    costs = {"large": {2: 0.0, 4: size / 2, 8: size + 1.0}, "small": {2: 0.0, 4: 0.0, 8: 0.0}}
    sensitivities = {"large": {2: 1.0, 4: 0.5, 8: 0.0}, "small": {2: 1.0, 4: 0.5, 8: 0.0}}
    found = solve(sensitivities, [Constraint("budget", "bits", costs, 0.0, float(size))])
    assert found == {"large": 4, "small": 8}


def test_sensitivities_of_zero_are_solved() -> None:
    costs = {"only": {2: 2.0, 8: 8.0}}
    found = solve({"only": {2: 0.0, 8: 0.0}}, [Constraint("budget", "bits", costs, 0.0, 4.0)])
    assert found == {"only": 2}


@pytest.mark.parametrize("measured", [1, None])
def test_sensitivities_fall_with_the_bits_and_count_as_evaluations(measured: int | None) -> None:
    task = make_task()
    sensitivities = measure_sensitivities(task, measured)
    assert set(sensitivities) == set(task.quantizable.groups)
    for values in sensitivities.values():
        ordered = [values[bits] for bits in (2, 4, 8)]
        assert ordered == sorted(ordered, reverse=True)
        assert ordered[0] > 0
        assert ordered[-1] >= 0
    assert task.evaluator.evaluations == 1 + len(sensitivities) * (1 if measured else 2)


def test_sensitivities_fall_with_the_bits_whatever_the_scores_say() -> None:
    calls = itertools.count()
    # Every policy scores worse than the one before, and more bits are scored after fewer.
    task = make_task(score=called_once(lambda outputs, reference: float(next(calls))))
    for values in measure_sensitivities(task).values():
        ordered = [values[bits] for bits in (2, 4, 8)]
        assert ordered == sorted(ordered, reverse=True)


@pytest.mark.parametrize("budget", [{"weight_size": {"average_bits": 4}}, {"bops": {"ratio": 0.4}}])
def test_the_policy_of_a_network_keeps_the_budget_and_is_optimal_for_its_sensitivities(
    budget: dict[str, dict[str, float]],
) -> None:
    task = make_task()
    parameters = IlpPrecision.Parameters.model_validate({"type": "ilp", "budget": budget})
    result = IlpPrecision(parameters).find_policy(task)
    constraints = task.costs.constraints(Budget.model_validate(budget), task.choices)
    choice = {group: result.policy.weight_bits[group] for group in task.quantizable.groups}
    assert all(constraint.is_met(choice) for constraint in constraints)
    sensitivities = {
        group: {int(bits): value for bits, value in values.items()}
        for group, values in details_of(result)["sensitivities"].items()
    }
    choices = feasible_choices(sensitivities, constraints)
    best = min(sum(sensitivities[group][bits] for group, bits in item.items()) for item in choices)
    assert result.details["predicted_score"] == pytest.approx(best, rel=1e-5)
    assert result.policy.activation_bits == task.default_activation_bits()


def test_a_budget_out_of_reach_is_an_error_before_anything_is_scored() -> None:
    task = make_task()
    parameters = IlpPrecision.Parameters.model_validate(
        {"type": "ilp", "budget": {"weight_size": {"average_bits": 1.9}}}
    )
    with pytest.raises(BudgetError, match=r"found 1\.9 bits, which no policy meets; reachable: 2 to 8 bits"):
        IlpPrecision(parameters).find_policy(task)
    assert task.evaluator.evaluations == 0
