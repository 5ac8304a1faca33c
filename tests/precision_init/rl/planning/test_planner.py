from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.rl.planning.planner import CELLS, Planner
from nncf_mcq.precision_init.search import SearchSpace
from tests.precision_init.search.problems import Problem, problems

BITS = (2, 4, 8)
GROUPS = ("a", "b", "c", "d")
WEIGHTS = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 2.0}
SPACE = SearchSpace(dict.fromkeys(GROUPS, BITS))


NOWHERE = np.zeros(len(GROUPS), dtype=np.intp)
"""Where products of bits are made linear; there are none."""


def limit(average_bits: float) -> Constraint:
    cost = {group: {bits: WEIGHTS[group] * bits for bits in BITS} for group in GROUPS}
    return Constraint("size", "bits", cost, 0.0, average_bits * sum(WEIGHTS.values()))


def feasible(constraints: list[Constraint]) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    choices = itertools.product(range(len(BITS)), repeat=len(GROUPS))
    kept = [
        choice
        for choice in choices
        if all(
            item.is_met({group: BITS[index] for group, index in zip(GROUPS, choice, strict=True)})
            for item in constraints
        )
    ]
    return np.array(kept)


def random_losses(seed: int, samples: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    random = np.random.default_rng(seed)
    return np.flip(np.sort(random.random((samples, len(GROUPS), len(BITS))), axis=2), axis=2)


@settings(max_examples=100)
@given(problems(), st.integers(0, 9))
def test_values_that_no_walk_looks_at_need_not_be_computed(problem: Problem, seed: int) -> None:
    space, constraints, losses = problem
    values = np.array([space.matrix(losses, 0.0)] * 2)
    found = []
    for cells in (None, [0] * len(space.groups)):
        planner = Planner(space, constraints)
        with pytest.MonkeyPatch.context() as patch:
            if cells is not None:
                patch.setattr(planner, "_lowest_cells", lambda steps, cells=cells: cells)
            random, start = np.random.default_rng(seed), np.zeros(len(space.groups), int)
            found.append(planner.episodes(values, [0.0, 0.1, 1.0], 20, random, start))
    first, second = found
    np.testing.assert_array_equal(first, second)


@given(problems())
def test_temperatures_may_be_walked_together(problem: Problem) -> None:
    space, constraints, losses = problem
    values = np.array([space.matrix(losses, 0.0)] * 2)
    planner, start = Planner(space, constraints), np.zeros(len(space.groups), int)
    random = np.random.default_rng(0)
    alone = [planner.episodes(values, [temperature], 3, random, start) for temperature in (0.0, 0.1, 1.0)]
    together = planner.episodes(values, [0.0, 0.1, 1.0], 3, np.random.default_rng(0), start)
    assert sorted(map(tuple, np.concatenate(alone))) == sorted(map(tuple, together))


@settings(max_examples=200)
@given(problems(), st.sampled_from([0.0, 0.5]), st.integers(0, 9))
def test_every_episode_keeps_every_limit(problem: Problem, temperature: float, seed: int) -> None:
    space, constraints, losses = problem
    values = np.array([space.matrix(losses, 0.0)] * 2)
    planner = Planner(space, constraints)
    episodes = planner.episodes(values, [temperature], 3, np.random.default_rng(seed), np.zeros(len(space.groups), int))
    limits = 1 if len(constraints) == 1 else len(constraints) + 1
    assert episodes.shape == (2 * limits * (3 if temperature else 1), len(space.groups))
    for episode in episodes:
        bits = {group: widths[index] for (group, widths), index in zip(space.choices.items(), episode, strict=True)}
        assert all(constraint.is_met(bits) for constraint in constraints)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_limit_is_not_exceeded_by_a_thousandth(share: float) -> None:
    """Policies cost whole numbers: just below one of them, and at it, the same limit decides."""
    products = {("a", "b"): share, ("c", "d"): share}
    for total in range(20, 60, 4):
        for part, reached in ((1 - 5e-4, False), (1.0, True), (1 - 1e-12, True)):
            item = dataclasses.replace(limit(total * part / sum(WEIGHTS.values())), products=products)
            if not item.is_met(SPACE.lowest):
                continue
            episodes = Planner(SPACE, [item]).episodes(
                random_losses(0), [100.0], 400, np.random.default_rng(0), NOWHERE
            )
            found = {
                item.total({group: BITS[index] for group, index in zip(GROUPS, episode, strict=True)})
                for episode in episodes.tolist()
            }
            assert max(found) <= total - (not reached)
            kept = {
                item.total({group: BITS[index] for group, index in zip(GROUPS, choice, strict=True)})
                for choice in feasible([item]).tolist()
            }
            assert max(found) == max(kept)


@pytest.mark.parametrize("seed", range(20))
def test_without_temperature_the_episode_is_the_best_policy(seed: int) -> None:
    # (4 - 2) bits x 8 weights are free: a step is a sixteenth of a bit, so that no cost is rounded.
    constraint = limit(4.0)
    assert CELLS % 16 == 0
    losses = random_losses(seed, samples=2)
    episodes = Planner(SPACE, [constraint]).episodes(losses, [0.0], 5, np.random.default_rng(0), NOWHERE)
    for found, sample in zip(episodes, losses, strict=True):
        totals = sample[np.arange(len(GROUPS)), feasible([constraint])].sum(axis=1)
        assert sample[np.arange(len(GROUPS)), found].sum() == pytest.approx(totals.min())


def test_episodes_follow_the_boltzmann_distribution_over_feasible_policies() -> None:
    constraint, temperature = limit(4.0), 0.4
    losses = random_losses(3)
    episodes = Planner(SPACE, [constraint]).episodes(losses, [temperature], 40_000, np.random.default_rng(0), NOWHERE)
    choices = feasible([constraint])
    wanted = np.exp(-losses[0][np.arange(len(GROUPS)), choices].sum(axis=1) / temperature)
    wanted /= wanted.sum()
    index = {tuple(choice): position for position, choice in enumerate(choices.tolist())}
    counts = np.bincount([index[tuple(episode)] for episode in episodes.tolist()], minlength=len(choices))
    np.testing.assert_allclose(counts / len(episodes), wanted, atol=0.006)


def test_of_several_limits_the_one_that_binds_is_planned_for() -> None:
    loose = Constraint("loose", "units", {group: dict.fromkeys(BITS, 1.0) for group in GROUPS}, 0.0, 100.0)
    tight, losses = limit(4.0), random_losses(5)
    episodes = Planner(SPACE, [loose, tight]).episodes(losses, [0.0], 1, np.random.default_rng(0), NOWHERE)
    totals = losses[0][np.arange(len(GROUPS)), feasible([tight])].sum(axis=1)
    found = losses[0][np.arange(len(GROUPS)), episodes].sum(axis=1)
    assert found.min() == pytest.approx(totals.min())


def test_a_limit_that_only_the_lowest_widths_meet_leaves_them() -> None:
    episodes = Planner(SPACE, [limit(2.0)]).episodes(random_losses(0), [1.0], 8, np.random.default_rng(0), NOWHERE)
    assert not episodes.any()


PRODUCTS = {("a", "b"): 0.5, ("b", "d"): 0.25}


def test_shares_of_what_is_free_are_exact_at_the_choice_that_they_are_made_linear_around() -> None:
    item = dataclasses.replace(limit(5.0), products=PRODUCTS, limit=120.0)
    around = np.array([2, 1, 0, 1])
    planner = Planner(SPACE, [item])
    shares = planner._shares(around)
    assert shares.shape == (1, len(GROUPS), len(BITS))
    np.testing.assert_array_equal(shares[0, :, 0], 0)
    lowest = item.total(SPACE.lowest)
    spent = item.total({group: BITS[index] for group, index in zip(GROUPS, around, strict=True)}) - lowest
    assert shares[0, np.arange(len(GROUPS)), around].sum() == pytest.approx(spent / (item.limit - lowest))


def test_the_unit_of_a_limit_makes_no_difference() -> None:
    for products in ({}, PRODUCTS):
        item = dataclasses.replace(limit(4.0), products=products, limit=60.0)
        cost = {group: {bits: value / 1024 for bits, value in costs.items()} for group, costs in item.cost.items()}
        small = dataclasses.replace(
            item, cost=cost, limit=item.limit / 1024, products={pair: value / 1024 for pair, value in products.items()}
        )
        first, second = (
            Planner(SPACE, [one]).episodes(random_losses(1, 2), [0.0, 0.1], 20, np.random.default_rng(0), NOWHERE)
            for one in (item, small)
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1.0, 1 / 1024])
def test_where_nothing_is_free_every_width_but_the_lowest_is_too_much(unit: float) -> None:
    item = limit(2.0)
    cost = {group: {bits: value * unit for bits, value in costs.items()} for group, costs in item.cost.items()}
    planner = Planner(SPACE, [dataclasses.replace(item, cost=cost, limit=item.limit * unit)])
    shares = planner._shares(NOWHERE)
    np.testing.assert_array_equal(shares[0, :, 0], 0)
    assert np.isinf(shares[0, :, 1:]).all()
    assert not planner.episodes(random_losses(0), [0.0, 1.0], 8, np.random.default_rng(0), NOWHERE).any()


def test_a_limit_that_is_given_twice_is_planned_for_as_one() -> None:
    losses = random_losses(4, 3)
    once, twice = (
        Planner(SPACE, [limit(4.0)] * count).episodes(losses, [0.0], 1, np.random.default_rng(0), NOWHERE)
        for count in (1, 2)
    )
    np.testing.assert_array_equal(twice, np.concatenate([once] * 3))


def test_a_width_of_one_bit_is_one() -> None:
    space = SearchSpace({"a": (1, 2)})
    item = Constraint("size", "bits", {"a": {1: 1.0, 2: 2.0}}, 0.0, 2.0)
    losses = np.array([[[0.5, 0.5]]])
    episodes = Planner(space, [item]).episodes(losses, [1.0], 100, np.random.default_rng(0), np.zeros(1, dtype=np.intp))
    assert 30 < episodes.sum() < 70


def test_a_width_that_is_too_much_is_not_planned_for() -> None:
    """All of the budget would have to be kept for 8 bits of the second group, which it does not pay for."""
    losses = np.zeros((1, len(GROUPS), len(BITS)))
    losses[0, 0], losses[0, 1] = [1.0, 0.5, 0.0], [10.0, 9.0, 0.0]
    [found] = Planner(SPACE, [limit(4.0)]).episodes(losses, [0.0], 1, np.random.default_rng(0), NOWHERE)
    assert found[:2].tolist() == [2, 1]


def test_the_least_that_is_left_is_what_the_groups_before_cannot_have_spent() -> None:
    planner = Planner(SPACE, [limit(4.0)])
    steps = np.array([[0, CELLS + 1, CELLS + 1], [0, 5, CELLS], [0, 7, CELLS + 1], [0, 1, 2]])
    # One more for each group, and one more for the first rounding.
    assert planner._lowest_cells(steps) == [CELLS - 1, CELLS - 2, 0, 0]
    assert planner._lowest_cells(steps[[0, 2, 3]]) == [CELLS - 1, CELLS - 2, CELLS - 10]
    item = dataclasses.replace(limit(5.0), products=PRODUCTS, limit=120.0)
    assert Planner(SPACE, [item])._lowest_cells(steps) == [0] * len(steps)


@pytest.mark.parametrize("seed", range(20))
def test_walks_with_products_do_not_mix_what_they_have_spent(seed: int) -> None:
    item = dataclasses.replace(limit(4.0), products=PRODUCTS, limit=60.0)
    planner, losses = Planner(SPACE, [item]), random_losses(seed, samples=2)
    alone = [planner.episodes(one[None], [0.0], 1, np.random.default_rng(0), NOWHERE) for one in losses]
    together = planner.episodes(losses, [0.0], 1, np.random.default_rng(0), NOWHERE)
    np.testing.assert_array_equal(together, np.concatenate(alone))
