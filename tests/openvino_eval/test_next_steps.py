"""Sizes beside that of a run, from the sensitivities of its search."""

from __future__ import annotations

from typing import Any

import pytest

from nncf_mcq.config.output_files import RunResult
from openvino_eval.report.next_steps import next_steps
from openvino_eval.run_result import Run

LOSSES = {
    "large": {"2": 0.5, "3": 0.02, "4": 0.01, "8": 0.0},
    "small": {"2": 0.9, "3": 0.4, "4": 0.2, "8": 0.1},
}


def run_of(bits: dict[str, int], bin_bytes: float | None = 1000, losses: dict[str, Any] = LOSSES) -> Run:
    layers = [{"name": name, "group": name, "bits": bits[name], "weights": 1000} for name in bits]
    metrics = {"quantized": {"bin_bytes": bin_bytes}}
    search = {"details": {"sensitivities": losses}}
    return Run(RunResult.model_validate({"layers": layers, "metrics": metrics, "search": search}))


def test_bits_are_taken_where_they_cost_least_and_added_where_they_gain_most() -> None:
    less, more = next_steps(run_of({"large": 4, "small": 4}))
    # 1000 weights lose a bit of two: 125 bytes of 1000; four bits more are 500 bytes.
    assert less == (
        "An average of 3.50 bits would save another 12 % of the file, for 1.05 times "
        "the expected loss by the bits of weights."
    )
    assert more == (
        "An average of 6.00 bits would make the file 50 % larger, for 0.52 times the "
        "expected loss by the bits of weights."
    )


def test_at_an_end_there_is_one_direction() -> None:
    (less,) = next_steps(run_of({"large": 8, "small": 8}))
    assert "save another" in less
    (more,) = next_steps(run_of({"large": 2, "small": 2}))
    assert "larger, for 0.64 times the expected loss by the bits of weights." in more


@pytest.mark.parametrize(
    "run",
    [
        run_of({"large": 4, "small": 4}, bin_bytes=None),
        run_of({"large": 4, "small": 4}, losses={}),
        run_of({"large": 4, "small": 4}, bin_bytes=1e6),
        run_of({"large": 5, "small": 5}),
        run_of({}),
    ],
    ids=["no size", "no sensitivities", "no gain", "other bits", "no layers"],
)
def test_nothing_is_said_of_what_is_not_known(run: Run) -> None:
    assert next_steps(run) == []
