"""The lines about a result in the terminal."""

from __future__ import annotations

import pytest

from nncf_mcq.summaries.result import _gain_lines


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
