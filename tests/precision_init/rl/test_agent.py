from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.rl.agent import MOST_TRIALS, Agent, log_expected_improvement
from nncf_mcq.precision_init.search import SearchSpace

GROUPS, BITS = 12, (2, 3, 4, 6, 8)
SPACE = SearchSpace(dict.fromkeys((f"g{index}" for index in range(GROUPS)), BITS))
WEIGHTS = np.linspace(1, 4, GROUPS)
COST = {group: {bits: WEIGHTS[index] * bits for bits in BITS} for index, group in enumerate(SPACE.groups)}
LIMIT = Constraint("size", "bits", COST, 0.0, 3.5 * float(WEIGHTS.sum()))
TRUE = np.random.default_rng(0).lognormal(0, 0.7, (GROUPS, 1)) * 4.0 ** -np.array(BITS, dtype=float)
MEASURED = TRUE * np.random.default_rng(1).lognormal(0, 0.5, (GROUPS, 1))
COSINES = np.triu(np.random.default_rng(2).uniform(-0.2, 0.2, (GROUPS, GROUPS)), 1)
NOBODY = np.empty((0, GROUPS), dtype=np.intp)

Propose = Callable[[NDArray[np.intp], NDArray[np.float64], int], NDArray[np.intp]]


def score(choice: NDArray[np.intp]) -> float:
    amplitude = np.sqrt(TRUE[np.arange(GROUPS), choice])
    return float((amplitude**2).sum() + 2 * amplitude @ COSINES @ amplitude)


def agent(losses: NDArray[np.float64] = MEASURED, base: float | None = 0.0) -> Agent:
    return Agent(SPACE, [LIMIT], losses, base)


def play(propose: Propose, trials: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    choices, scores = NOBODY, np.empty(0)
    for trial in range(trials):
        choice = propose(choices, scores, trial)
        choices = np.concatenate([choices, choice[None]])
        scores = np.append(scores, score(choice))
    return choices, scores


def by(player: Agent, seed: int) -> Propose:
    return lambda choices, scores, trial: player.propose(choices, scores, NOBODY, np.random.default_rng([seed, trial]))


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_the_sensitivities_miss(seed: int) -> None:
    choices, scores = play(by(agent(), seed), 40)
    assert len(np.unique(choices, axis=0)) == 40
    perfect, _ = play(by(agent(TRUE), seed), 1)
    # The first policy is the best one for the sensitivities; the last is better than the best for the true ones.
    assert scores.min() < 0.95 * scores[0]
    assert scores.min() < score(perfect[0])


def test_it_beats_changing_the_best_policy_at_random() -> None:
    def mutate(choices: NDArray[np.intp], scores: NDArray[np.float64], trial: int) -> NDArray[np.intp]:
        random = np.random.default_rng([7, trial])
        if len(scores) == 0:
            return agent().propose(choices, scores, NOBODY, random)
        while True:
            choice = choices[scores.argmin()].copy()
            changed = random.integers(0, GROUPS, 2)
            choice[changed] = np.clip(choice[changed] + random.choice([-1, 1], 2), 0, len(BITS) - 1)
            bits = {group: BITS[index] for group, index in zip(SPACE.groups, choice, strict=True)}
            if LIMIT.is_met(bits):
                return choice

    _, mutated = play(mutate, 40)
    _, learned = play(by(agent(), 0), 40)
    assert learned.min() < mutated.min()
    assert (np.minimum.accumulate(learned) <= mutated.min()).argmax() < 20


def test_it_knows_nothing_but_what_it_is_given() -> None:
    choices, scores = play(by(agent(), 0), 20)
    player = agent()
    again, _ = play(by(player, 0), 20)
    np.testing.assert_array_equal(again, choices)
    fresh = by(agent(), 0)(choices, scores, 20)
    np.testing.assert_array_equal(by(player, 0)(choices, scores, 20), fresh)
    assert (by(agent(), 1)(choices, scores, 20) != fresh).any()


def test_without_a_base_the_unit_of_the_losses_does_not_matter() -> None:
    choices, scores = play(by(agent(), 0), 12)
    proposals = [by(agent(MEASURED * factor, None), 0)(choices, scores, 12) for factor in (1.0, 1e3)]
    first, second = proposals
    np.testing.assert_array_equal(first, second)


def test_what_another_worker_scores_now_is_not_proposed() -> None:
    choices, scores = play(by(agent(), 0), 12)
    first = by(agent(), 0)(choices, scores, 12)
    second = agent().propose(choices, scores, first[None], np.random.default_rng([0, 12]))
    assert (first != second).any()
    start = agent().propose(NOBODY, np.empty(0), NOBODY, np.random.default_rng(0))
    other = agent().propose(NOBODY, np.empty(0), start[None], np.random.default_rng(0))
    assert (start != other).any()


def test_where_nothing_new_is_feasible_it_repeats_itself() -> None:
    tight = Constraint("size", "bits", COST, 0.0, 2.0 * float(WEIGHTS.sum()))
    choices = np.zeros((1, GROUPS), dtype=np.intp)
    player = Agent(SPACE, [tight], MEASURED, 0.0)
    np.testing.assert_array_equal(
        player.propose(choices, np.array([1.0]), NOBODY, np.random.default_rng(0)), choices[0]
    )


def test_of_very_many_trials_the_best_are_learned_from() -> None:
    random = np.random.default_rng(0)
    choices = np.unique(random.integers(0, len(BITS), (3 * MOST_TRIALS, GROUPS)), axis=0)
    scores = np.array([score(choice) for choice in choices])
    best = np.sort(np.argsort(scores, kind="stable")[:MOST_TRIALS])
    proposals = [by(agent(), 0)(rows, values, 1) for rows, values in ((choices, scores), (choices[best], scores[best]))]
    first, second = proposals
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("mean", "deviation"), [(1.0, 0.5), (-3.0, 0.5), (5.0, 1.0), (2.0, 1e-3), (40.0, 2.0)])
def test_the_expected_improvement_is_the_integral(mean: float, deviation: float) -> None:
    best = 0.5

    def integrand(distance: float) -> float:
        return distance * float(np.exp(norm.logpdf(best - distance, mean, deviation) - peak))

    peak = float(norm.logpdf(min(best, mean), mean, deviation))
    width = deviation * min(40.0, 60 * deviation / max(mean - best, deviation)) + max(best - mean, 0.0)
    wanted = np.log(quad(integrand, 0, width, limit=200)[0]) + peak
    found = log_expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    assert found == pytest.approx(wanted, rel=2e-3, abs=2e-3)


def test_the_expected_improvement_falls_with_the_mean_without_a_break() -> None:
    mean = np.linspace(-50, 200, 20_001)
    values = log_expected_improvement(mean, np.ones_like(mean), 0.0)
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
