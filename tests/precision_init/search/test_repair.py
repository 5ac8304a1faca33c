from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import BudgetError
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.search import Repair, SearchSpace, predicted_losses
from tests.models import make_task
from tests.precision_init.search.problems import Problem, problems


@given(problems(), st.data())
def test_a_repaired_proposal_is_feasible_lower_and_lowered_no_more_than_it_must(
    problem: Problem, data: st.DataObject
) -> None:
    space, constraints, losses = problem
    proposal = {group: data.draw(st.sampled_from(widths)) for group, widths in space.choices.items()}
    original = dict(proposal)
    repair = Repair(space, constraints, losses)
    found = repair(proposal)
    assert proposal == original
    assert list(found) == list(space.groups)
    assert all(constraint.is_met(found) for constraint in constraints)
    assert all(found[group] <= proposal[group] for group in space.groups)
    assert repair(proposal) == Repair(space, constraints, losses)(proposal) == found
    assert repair(found) == found
    if all(constraint.is_met(proposal) for constraint in constraints):
        assert found == proposal
    for group in space.groups:
        for bits in space.choices[group]:
            if found[group] < bits <= proposal[group]:
                assert not repair.is_feasible({**found, group: bits})


SPACE = SearchSpace(dict.fromkeys(("small", "large"), (2, 4, 8)))
COSTS = {"small": {2: 2.0, 4: 4.0, 8: 8.0}, "large": {2: 20.0, 4: 40.0, 8: 80.0}}
EIGHT = {"small": 8, "large": 8}


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [
        # Per saved cost the large layer loses less: 8 / 40 against 4 / 4.
        ({2: 9.0, 4: 4.0, 8: 0.0}, {2: 99.0, 4: 8.0, 8: 0.0}, {"small": 8, "large": 4}),
        # Now it loses more.
        ({2: 0.2, 4: 0.1, 8: 0.0}, {2: 99.0, 4: 8.0, 8: 0.0}, {"small": 2, "large": 8}),
    ],
)
def test_the_layer_that_loses_least_per_saved_cost_is_lowered_first(
    small: dict[int, float], large: dict[int, float], expected: dict[str, int]
) -> None:
    limit = Constraint("budget", "bits", COSTS, 0.0, 82.5)
    assert Repair(SPACE, [limit], {"small": small, "large": large})(EIGHT) == expected


def test_what_was_lowered_too_far_is_given_back() -> None:
    # The small layer goes first, but what it saves is not enough; once the large one is lowered it need not be low.
    losses = {"small": {2: 0.2, 4: 0.1, 8: 0.0}, "large": {2: 99.0, 4: 8.0, 8: 0.0}}
    limit = Constraint("budget", "bits", COSTS, 0.0, 50.0)
    assert Repair(SPACE, [limit], losses)(EIGHT) == {"small": 8, "large": 4}


def test_a_width_that_saves_nothing_is_passed_over() -> None:
    costs = {"small": {2: 1.0, 4: 2.0, 8: 2.0}, "large": {2: 2.0, 4: 2.0, 8: 2.0}}
    losses = {"small": {2: 5.0, 4: 0.0, 8: 0.0}, "large": {2: 0.0, 4: 0.0, 8: 0.0}}
    assert Repair(SPACE, [Constraint("budget", "bytes", costs, 0.0, 3.0)], losses)(EIGHT) == {"small": 2, "large": 8}


def test_a_limit_that_no_policy_meets_is_an_error() -> None:
    losses = {"small": dict.fromkeys((2, 4, 8), 0.0), "large": dict.fromkeys((2, 4, 8), 0.0)}
    with pytest.raises(BudgetError, match=r"^budget: found 21 bits, which no policy meets; reachable: 22 to 88 bits$"):
        Repair(SPACE, [Constraint("budget", "bits", COSTS, 0.0, 21.0)], losses)


def test_losses_are_the_measured_ones_or_the_errors_of_the_weight_table() -> None:
    task = make_task()
    assert predicted_losses(task) == task.errors
    measured = {group: {2: 1.0, 4: 0.5, 8: 0.0} for group in task.quantizable.groups}
    assert predicted_losses(task, measured) == measured


def test_what_a_step_saves_is_reckoned_at_the_present_bits_of_the_others() -> None:
    # One bit of `cheap` costs 1 x 8, one of `dear` 3 x 8: lowering `dear` saves three times as much for the same loss.
    groups = ("cheap", "dear", "input")
    cost = {group: dict.fromkeys((4, 8), 0.0) for group in groups}
    products = {("cheap", "input"): 1.0, ("dear", "input"): 3.0}
    losses = {"cheap": {4: 1.0, 8: 0.0}, "dear": {4: 1.0, 8: 0.0}, "input": {4: 9.0, 8: 0.0}}
    limit = Constraint("bops", "operations", cost, 0.0, 200.0, products=products)
    repair = Repair(SearchSpace(dict.fromkeys(groups, (4, 8))), [limit], losses)
    assert repair(dict.fromkeys(groups, 8)) == {"cheap": 8, "dear": 4, "input": 8}
