from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.goal_bound import Draw, measure
from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.search_report import GoalReport
from nncf_mcq.job import Job


@pytest.mark.parametrize(
    ("quantity", "held_out", "holds"),
    [("agreement", 0.95, True), ("agreement", 0.93, False), ("kl", 0.93, True), ("kl", 0.95, False)],
)
def test_a_bound_holds_on_its_own_side(quantity: str, held_out: float, holds: bool) -> None:
    goal = GoalReport(quantity=quantity, limit=0.9, confidence=0.95, average_bits=4, bound=0.94)
    assert Draw(0, goal, held_out).holds == holds


@pytest.mark.slow
def test_the_bound_holds_on_held_out_images_in_nine_of_ten_draws() -> None:
    overrides = {
        "dataset.full_root": None,
        "compression.initializer.precision.measured_widths": 1,
        "compression.correction.sequential": False,
    }
    job = Job.read(find_config("fashion_mnist"), overrides)
    held: Counter[str] = Counter()
    for draw in measure(job, 20):
        held[draw.goal.quantity] += draw.holds
    assert set(held) == {"agreement", "kl", "top1_drop"}
    assert min(held.values()) >= 18, held
