"""The lines about a result in the terminal."""

from __future__ import annotations

import pytest

from nncf_mcq.config.search_report import GoalReport
from nncf_mcq.summaries.result import _gain_lines, _goal_line, _widest_lines


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"sensitivities": {}}, []),
        ({"kept_warm_start": False, "gain": None, "warm_start_score": None}, []),
        (
            {"kept_warm_start": True, "gain": None, "warm_start_score": 1.0, "ended_early": True},
            [
                "  no policy was better than that of the ILP, which is kept",
                "  ended for lack of progress (precision.patience)",
            ],
        ),
        (
            {"kept_warm_start": True, "gain": {"mean": 0.01, "standard_error": 0.02}, "warm_start_score": 1.0},
            [
                "  the best gained 0.01 +- 0.02 on the same images, which is not clearly better: "
                "the policy of the ILP is kept"
            ],
        ),
        (
            {"kept_warm_start": False, "gain": {"mean": 0.1, "standard_error": 0.02}, "warm_start_score": 1.0},
            ["  gain over the policy of the ILP: 0.1 +- 0.02 on the same images"],
        ),
    ],
)
def test_what_a_search_gained(details: dict[str, object], expected: list[str]) -> None:
    assert list(_gain_lines(details)) == expected


@pytest.mark.parametrize(
    ("score", "details", "expected"),
    [
        (0.5, {}, []),
        (None, {"widest_score": 0.5}, []),
        (
            0.5,
            {"widest_score": 0.1},
            ["  distance from the float model 0.5, with the largest bit-widths everywhere 0.1"],
        ),
        (
            2.888,
            {"widest_score": 2.876},
            [
                "  distance from the float model 2.888, with the largest bit-widths everywhere 2.876: more bits of "
                "weights gain next to nothing; ignored_scopes keeps layers in floating point"
            ],
        ),
    ],
)
def test_what_more_bits_would_gain(score: float | None, details: dict[str, float], expected: list[str]) -> None:
    assert list(_widest_lines(score, details)) == expected


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (
            GoalReport(
                quantity="agreement",
                limit=0.98,
                confidence=0.95,
                average_bits=4,
                value=0.991,
                bound=0.985,
                kept=True,
                images=512,
            ),
            "goal: top-1 agreement 0.991, at least 0.985 at 95 % confidence, on 512 search images; asked for: "
            "at least 0.98",
        ),
        (
            GoalReport(
                quantity="top1_drop",
                limit=1,
                confidence=0.9,
                average_bits=8,
                value=0.2,
                bound=1.25,
                images=64,
            ),
            "warning: the goal of at most 1 points is missed by 0.25 points: top-1 drop 0.2 points, at most 1.25 "
            "points at 90 % confidence, on 64 search images",
        ),
        (
            GoalReport(quantity="ratio_drop", limit=0.5, confidence=0.95, average_bits=8, value=0.1, images=1),
            "warning: the goal of at most 0.5 is missed: ratio drop 0.1, without a bound at 95 % confidence, on 1 "
            "search images",
        ),
    ],
)
def test_what_a_policy_keeps_of_a_goal(goal: GoalReport, expected: str) -> None:
    assert _goal_line(goal) == expected
