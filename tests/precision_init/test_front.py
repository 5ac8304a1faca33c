"""The front among points, and the policies of a ladder of sizes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import BudgetError, QuantizationError
from nncf_mcq.config.budget import WeightSizeBudget
from nncf_mcq.config.pareto_file import IntervalReport, ParetoPoint
from nncf_mcq.precision_init.front import FrontSearch, find_front, find_qualities, is_within
from nncf_mcq.precision_init.sensitivity import measure_sensitivities
from nncf_mcq.precision_init.shrinkage import Sensitivities
from tests.models import make_task
from tests.precision_init.test_goal import fold


def point(size: int, score: float | None) -> ParetoPoint:
    return ParetoPoint(
        bytes=size, average_bits=4.0, score=IntervalReport(value=score), predicted_score=0.0, policy={"weight_bits": {}}
    )


POINTS = st.lists(
    st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(0, 6).map(float))), min_size=1, max_size=12
).map(lambda drawn: [point(*values) for values in drawn])


@given(POINTS)
def test_the_front_is_what_nothing_else_dominates(points: list[ParetoPoint]) -> None:
    scored = [(item.bytes, item.score.value) for item in points if item.score.value is not None]
    if not scored:
        with pytest.raises(QuantizationError, match="no policy has a score that is a number, at any size"):
            find_front(points)
        return
    front, dominated = find_front(points)
    assert len(front) + len(dominated) == len(points)
    expected = {
        (size, score)
        for size, score in scored
        if not any((a <= size and b < score) or (a < size and b <= score) for a, b in scored)
    }
    assert [(item.bytes, item.score.value) for item in front] == sorted(expected)
    scores = [item.score.value for item in front if item.score.value is not None]
    assert scores == sorted(scores, reverse=True)


@functools.cache
def search() -> tuple[FrontSearch, Sensitivities]:
    task = make_task()
    return FrontSearch(task), measure_sensitivities(task)


@pytest.mark.parametrize("points", [2, 3, 6])
def test_a_ladder_reaches_from_the_smallest_to_the_largest_bit_widths(points: int) -> None:
    found, sensitivities = search()
    ladder = found.ladder(sensitivities, points)
    assert 2 <= len(ladder) <= points
    task = make_task()
    assert ladder[0] == {group: widths[0] for group, widths in task.choices.items()}
    sizes = [found.measure(choice, sensitivities).bytes for choice in ladder]
    assert sizes == sorted(sizes)
    # With the largest bit-widths, but for layers that lose nothing with fewer.
    largest = task.costs.size_limit(WeightSizeBudget(bytes=10**9), task.choices).reachable[1]
    limits = np.geomspace(sizes[0], largest, points)
    assert all(size <= limit + 1e-6 for size, limit in zip(sizes[-2:], limits[-2:], strict=True))
    assert sum(sensitivities[group][bits] for group, bits in ladder[-1].items()) == 0


@pytest.mark.parametrize("size", [WeightSizeBudget(bytes=550), WeightSizeBudget(average_bits=3.3)])
def test_the_policy_of_a_size_keeps_it_and_no_smaller_prediction_does(size: WeightSizeBudget) -> None:
    found, sensitivities = search()
    found.check(size, "x")
    measured = found.measure(found.choose(sensitivities, size), sensitivities)
    assert is_within(size, measured.bytes, measured.average_bits)
    assert measured.predicted_score is not None
    for choice in found.ladder(sensitivities, 8):
        other = found.measure(choice, sensitivities)
        if is_within(size, other.bytes, other.average_bits):
            assert other.predicted_score is not None
            assert other.predicted_score >= measured.predicted_score * (1 - 1e-5)


@pytest.mark.parametrize("size", [WeightSizeBudget(bytes=10), WeightSizeBudget(average_bits=1.9)])
def test_a_size_below_the_smallest_names_it(size: WeightSizeBudget) -> None:
    message = r"no policy is as small as TEXT: the smallest file has 424 bytes, 2\.00 bits per weight"
    with pytest.raises(BudgetError, match=message):
        search()[0].check(size, "TEXT")


def test_qualities_are_those_that_outputs_and_labels_allow_for(caplog: pytest.LogCaptureFixture) -> None:
    logits, boxes = np.eye(4, dtype=np.float32), np.zeros((4, 3, 2), np.float32)
    assert list(find_qualities([fold(logits)], ["top1"])) == ["agreement", "kl"]
    assert list(find_qualities([fold(logits, [0, 1, 2, 3])], ["top1", "top5"])) == [
        "agreement",
        "kl",
        "top1_drop",
        "top5_drop",
    ]
    assert list(find_qualities([fold(boxes)], ["map50"])) == []
    assert caplog.text == ""
    assert list(find_qualities([fold(boxes, [0, 1, 2, 3])], ["top1"])) == []
    assert "top1: not measured on the search images (" in caplog.text
