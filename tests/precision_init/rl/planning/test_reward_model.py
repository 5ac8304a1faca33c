from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nncf_mcq.precision_init.rl.planning.reward_model import GRID, RewardModel, Uncertainty

GROUPS, WIDTHS = 8, 4
LOSSES = np.array([[4.0, 1.0, 0.25, 0.0]]) * np.linspace(0.5, 2.0, GROUPS)[:, None]
BASE = 0.1


def distinct(count: int, seed: int = 0) -> NDArray[np.intp]:
    rows = np.unique(np.random.default_rng(seed).integers(0, WIDTHS, (8 * count, GROUPS)), axis=0)
    return rows[np.random.default_rng(seed).permutation(len(rows))[:count]]


def additive(choices: NDArray[np.intp], losses: NDArray[np.float64] = LOSSES) -> NDArray[np.float64]:
    return np.asarray(BASE + losses[np.arange(GROUPS), choices].sum(axis=1))


def with_interactions(choices: NDArray[np.intp]) -> NDArray[np.float64]:
    random = np.random.default_rng(5)
    cosines = np.triu(random.uniform(-0.3, 0.3, (GROUPS, GROUPS)), 1)
    amplitude = np.sqrt(LOSSES)[np.arange(GROUPS), choices]
    return additive(choices) + 2 * np.einsum("ng,gh,nh->n", amplitude, cosines, amplitude)


def learned(choices: NDArray[np.intp], scores: NDArray[np.float64]) -> RewardModel:
    model = RewardModel(LOSSES, BASE)
    model.uncertainty = model.fit(choices, scores)
    model.learn(choices, scores)
    return model


def test_with_one_score_the_mean_is_the_scaled_sum_of_the_sensitivities() -> None:
    first, others = distinct(1), distinct(30, seed=1)
    model = RewardModel(LOSSES, BASE)
    model.uncertainty = Uncertainty(sensitivity=1e-6, scale=10.0, interaction=1e-6, noise=1e-6)
    model.learn(first, 3.0 * additive(first))
    np.testing.assert_allclose(model.predict(others)[0], 3.0 * additive(others), rtol=1e-3)


def test_learned_scores_are_returned_with_smaller_deviation() -> None:
    choices = distinct(60)
    scores = with_interactions(choices)
    model = learned(choices, scores)
    mean, deviation = model.predict(choices)
    assert np.abs(mean / scores - 1).mean() < 0.05
    elsewhere = distinct(60, seed=9)
    assert (deviation / scores).mean() < 0.85 * (model.predict(elsewhere)[1] / with_interactions(elsewhere)).mean()


def test_wrong_sensitivities_are_corrected() -> None:
    true = LOSSES * np.exp(np.random.default_rng(2).normal(0, 0.5, (GROUPS, 1)))
    choices, others = distinct(80), distinct(40, seed=9)
    model = learned(choices, additive(choices, true))
    wanted = additive(others, true)
    error = np.abs(model.predict(others)[0] / wanted - 1).mean()
    assert error < 0.25 * np.abs(additive(others) / wanted - 1).mean()


def test_interactions_are_learned_where_there_are_any() -> None:
    choices, others = distinct(200), distinct(60, seed=9)
    model = learned(choices, with_interactions(choices))
    wanted = with_interactions(others)
    error = np.abs(model.predict(others)[0] / wanted - 1).mean()
    assert error < 0.3 * np.abs(additive(others) / wanted - 1).mean()
    least = min(item.interaction for item in GRID)
    assert model.uncertainty.interaction > least
    assert learned(choices, additive(choices)).uncertainty.interaction == least


def test_deviations_are_of_the_right_size() -> None:
    choices, others = distinct(60), distinct(200, seed=9)
    mean, deviation = learned(choices, with_interactions(choices)).predict(others)
    ratio = float(np.sqrt(np.mean(((with_interactions(others) - mean) / deviation) ** 2)))
    assert 0.4 < ratio < 2.0


def test_samples_agree_with_the_prediction_and_vary_together() -> None:
    choices, others = distinct(30), distinct(12, seed=9)
    model = learned(choices, with_interactions(choices))
    mean, deviation = model.predict(others)
    samples = model.sample(others, 4000, np.random.default_rng(0))
    np.testing.assert_allclose(samples[0], mean)
    np.testing.assert_allclose(samples[1:].mean(axis=0), mean, atol=float(0.1 * deviation.max()))
    explained = np.sqrt(np.maximum(deviation**2 - (model.uncertainty.noise * additive(others)) ** 2, 0))
    np.testing.assert_allclose(samples[1:].std(axis=0), explained, rtol=0.1, atol=float(0.05 * deviation.max()))


def test_a_group_without_measured_sensitivity_is_still_uncertain() -> None:
    losses = LOSSES.copy()
    losses[0] = 0.0
    model = RewardModel(losses, BASE)
    model.uncertainty = Uncertainty(0.5, 1e-6, 1e-6, 1e-6)
    known = distinct(1)
    known[0, 0] = WIDTHS - 1
    changed = known.copy()
    changed[0, 0] = 0
    model.learn(known, additive(known))
    assert model.predict(changed)[1][0] > 1e-3


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_score_does_not_matter(factor: float) -> None:
    choices, others = distinct(40), distinct(20, seed=9)
    scores = with_interactions(choices)
    model = RewardModel(LOSSES * factor, BASE * factor)
    model.uncertainty = model.fit(choices, scores * factor)
    model.learn(choices, scores * factor)
    np.testing.assert_allclose(
        model.predict(others)[0] / factor, learned(choices, scores).predict(others)[0], rtol=1e-5
    )
