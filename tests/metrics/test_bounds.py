from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from nncf_mcq.metrics.bounds import mean_upper_bound, paired_drop_upper_bound, share_lower_bound
from nncf_mcq.metrics.jackknife import jackknife

DRAWS = 2000


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 8), (505, 512)])
def test_the_bound_of_a_share_is_that_of_clopper_and_pearson(hits: int, count: int) -> None:
    expected = binomtest(hits, count, alternative="greater").proportion_ci(0.95, "exact").low
    assert share_lower_bound(hits, count, 0.95) == pytest.approx(expected)


def test_where_nothing_changed_a_drop_is_still_possible() -> None:
    square = norm.ppf(0.95) ** 2
    assert paired_drop_upper_bound(0, 0, 500, 0.95) == pytest.approx(square / (500 + square))
    assert paired_drop_upper_bound(9, 0, 9, 0.95) == 1.0
    assert paired_drop_upper_bound(0, 9, 9, 0.95) < 0


def test_the_bound_of_a_drop_solves_its_equation() -> None:
    """Tango's statistic at the bound, with the likeliest shares under it found numerically."""
    lost, won, count = 9, 4, 300
    drop = paired_drop_upper_bound(lost, won, count, 0.95)
    winning = np.linspace(1e-9, 1 - drop - 1e-9, 2_000_001) / 2
    likelihood = (
        lost * np.log(winning + drop) + won * np.log(winning) + (count - lost - won) * np.log1p(-2 * winning - drop)
    )
    best = winning[np.argmax(likelihood)]
    statistic = (lost - won - count * drop) / np.sqrt(count * (2 * best + drop - drop**2))
    assert statistic == pytest.approx(-norm.ppf(0.95), abs=1e-3)


@pytest.mark.parametrize("shares", [(0.02, 0.005), (0.01, 0.01), (0.004, 0.001)])
def test_the_bound_of_a_drop_holds_as_often_as_it_says(shares: tuple[float, float]) -> None:
    random = np.random.default_rng(0)
    draws = random.multinomial(400, [*shares, 1 - sum(shares)], DRAWS)
    held = [paired_drop_upper_bound(lost, won, 400, 0.95) >= shares[0] - shares[1] for lost, won, _ in draws]
    assert 0.935 <= np.mean(held) <= 1


def test_the_bound_of_a_skewed_mean_holds_more_often_than_students() -> None:
    random = np.random.default_rng(0)
    values = random.lognormal(0, 1.2, (DRAWS, 200))
    mean = np.exp(1.2**2 / 2)
    held = np.mean([mean_upper_bound(row, 0.95) >= mean for row in values])
    student = np.mean(values.mean(axis=1) + norm.ppf(0.95) * values.std(axis=1, ddof=1) / np.sqrt(200) >= mean)
    assert student < 0.91 < held


def test_values_without_a_deviation_or_a_number() -> None:
    assert mean_upper_bound(np.full(4, 0.5), 0.95) == 0.5
    assert mean_upper_bound(np.ones(1), 0.95) == np.inf
    assert mean_upper_bound(np.array([1.0, np.inf]), 0.95) == np.inf


@pytest.mark.parametrize("images", [20, 400])
def test_the_error_of_jackknife_values_is_that_of_the_statistic(images: int) -> None:
    """Of a ratio of means, over many draws of the images."""
    random = np.random.default_rng(0)
    draws = random.uniform(1, 3, (500, images, 2))

    def ratio(rows: np.ndarray) -> float:
        return float(rows[:, 0].mean() / rows[:, 1].mean())

    def ratio_of(rows: np.ndarray, which: np.ndarray) -> float:
        return ratio(rows[which])

    true_error = np.std([ratio(rows) for rows in draws])
    errors = []
    for rows in draws[:50]:
        values = jackknife(functools.partial(ratio_of, rows), ratio(rows), images).values
        assert values.mean() == pytest.approx(ratio(rows))
        errors.append(values.std(ddof=1) / np.sqrt(images))
    assert np.mean(errors) == pytest.approx(true_error, rel=0.15)
