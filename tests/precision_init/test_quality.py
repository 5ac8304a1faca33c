"""Intervals of what a policy keeps of the float model."""

from __future__ import annotations

import numpy as np
import pytest

from nncf_mcq.model.samples import Arrays
from nncf_mcq.precision_init.evaluator import Fold
from nncf_mcq.precision_init.quality import Agreement, Divergence, Drop, Quality, mean_interval
from tests.precision_init.test_goal import fold, two_folds


def qualities(folds: list[Fold]) -> list[Quality]:
    return [Agreement(folds), Divergence(folds), Drop("top1", folds), Drop("top5", folds)]


@pytest.mark.parametrize("index", range(4))
def test_more_confidence_widens_an_interval_around_the_value(index: int) -> None:
    folds, outputs = two_folds()
    found = [qualities(folds)[index].interval(outputs, confidence) for confidence in (0.8, 0.975, 0.999)]
    assert all(interval.low < interval.value < interval.high for interval in found)
    assert [interval.low for interval in found] == sorted((interval.low for interval in found), reverse=True)
    assert found[0].low > found[-1].low or index == 1
    assert found[0].high < found[1].high < found[2].high


def test_a_drop_the_other_way_round_has_the_opposite_interval() -> None:
    """The float model and the policy change their places."""
    folds, outputs = two_folds()
    turned = [fold(arrays[0], list(item.targets or ())) for arrays, item in zip(outputs, folds, strict=True)]
    back: list[Arrays] = [item.reference for item in folds]
    there, again = Drop("top1", folds).interval(outputs, 0.9), Drop("top1", turned).interval(back, 0.9)
    assert (there.value, there.low, there.high) == pytest.approx((-again.value, -again.high, -again.low))


def test_no_share_is_beyond_0_and_1_and_no_distance_below_0() -> None:
    logits = np.eye(5, dtype=np.float32)
    same, folds = [(logits,)], [fold(logits)]
    agreement = Agreement(folds).interval(same, 0.975)
    assert (agreement.value, agreement.high) == (1, 1)
    assert 0 < agreement.low < 1
    other = Agreement(folds).interval([(np.roll(logits, 1, axis=0),)], 0.975)
    assert (other.value, other.low) == (0, 0)
    assert other.high == pytest.approx(1 - agreement.low)
    values = np.array([0, 0, 0, 5], np.float32)
    assert mean_interval(values, 0.975, is_distance=True).low == 0 > mean_interval(values, 0.975).low


def test_intervals_of_means_hold_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    draws = random.gamma(2.0, size=(1000, 60)).astype(np.float32)
    intervals = [mean_interval(values, 0.975) for values in draws]
    held = np.mean([interval.low <= 2.0 <= interval.high for interval in intervals])
    assert 0.92 <= held <= 0.985
