from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from nncf_mcq.precision_init.estimate import from_text, mean_score, paired_difference, to_text

EVERY_VALUE = arrays.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32))
PAIRS = st.integers(2, 30).flatmap(
    lambda count: arrays.arrays(np.float32, (2, count), elements=st.floats(-100, 100, width=32))
)


@given(EVERY_VALUE)
def test_values_come_back_from_text_exactly(values: np.ndarray) -> None:
    found = from_text(to_text(values))
    assert found.dtype == np.float32
    # Bytes: also of what is not a number, and of -0.
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize("text", ["AAAA!AAA", "AAAA", "A", "no base64"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_text(text)


@given(PAIRS)
def test_a_difference_has_the_mean_and_the_standard_error_of_the_pairs(pair: np.ndarray) -> None:
    first, second = pair
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(mean_score(first) - mean_score(second), abs=1e-9)
    assert found.error == pytest.approx(stats.sem(first.astype(np.float64) - second), rel=1e-9, abs=1e-12)
    turned = paired_difference(second, first)
    assert (turned.mean, turned.error) == (-found.mean, found.error)


def test_a_difference_is_as_significant_as_the_paired_t_test_says() -> None:
    random = np.random.default_rng(0)
    first = random.exponential(size=40).astype(np.float32)
    second = (0.8 * first + 0.1 * random.standard_normal(40)).astype(np.float32)
    found = paired_difference(first, second)
    assert found.mean / found.error == pytest.approx(stats.ttest_rel(first, second).statistic, rel=1e-5)
    # What both policies share, the difficulty of the images, is not in it.
    assert found.error < 0.5 * stats.sem(first)


def test_one_image_tells_no_error() -> None:
    found = paired_difference(np.array([0.5], np.float32), np.array([0.25], np.float32))
    assert (found.mean, found.error) == (0.25, float("inf"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("first", "mean"), [([np.inf, 0.5], np.inf), ([np.nan, 0.5], np.nan)])
def test_what_is_infinitely_far_stays_so(first: list[float], mean: float) -> None:
    found = paired_difference(np.array(first, np.float32), np.array([0.5, 0.5], np.float32))
    np.testing.assert_equal([found.mean, found.error], [mean, np.nan])
    both = paired_difference(np.array(first, np.float32), np.array(first, np.float32))
    assert np.isnan(both.mean)


def test_the_score_is_the_mean_in_float64() -> None:
    values = np.full(2**16, 0.1, np.float32)
    values[0] = 1e4
    assert mean_score(values) == pytest.approx(values.astype(np.float64).sum() / 2**16, rel=1e-12)
