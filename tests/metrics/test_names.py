from __future__ import annotations

import pytest

from nncf_mcq.metrics import metric_figure, metric_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0000"),
        (0.99998312, "0.999983"),
        (0.99999999999, "1.00000000"),
        (0.912345, "0.9123"),
        (-0.5, "-0.5000"),
        (0.0, "0.0000"),
    ],
)
def test_cosines_near_one_are_told_apart(value: float, text: str) -> None:
    assert metric_figure("cosine_to_float", value) == metric_value("cosine", value) == text


def test_other_metrics_have_four_figures_or_are_shares() -> None:
    assert metric_figure("kl", 0.00012345) == "0.0001234"
    assert metric_figure("top1", 0.93754) == "93.75 %"
    assert metric_value("agreement", 0.93754) == "93.75"
