"""What Ctrl-C and a time limit leave out of a result: never the policy, nor the verification of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nncf_mcq import QuantizationResult, load_config, quantize
from nncf_mcq.config.json_files import read_json
from nncf_mcq.summaries.result import result_lines, result_table
from nncf_mcq.utils.progress import SilentProgress
from tests.models import as_dataset, random_images, small_config, small_network

SIZE = {"weight_size": {"average_bits": 4}}
RL: dict[str, Any] = {"type": "rl", "budget": SIZE, "evaluations": 40, "measured_widths": 1, "patience": None}


class Interrupted(SilentProgress):
    """Ctrl-C in a stage, after so many of its steps.

    Args:
        stage: Its name.
        after: The steps.
        follows: A stage that has to come before: names may repeat.
    """

    def __init__(self, stage: str, after: int = 0, follows: str | None = None) -> None:
        self.stages: list[str] = []
        self._stage = stage
        self._after = after
        self._follows = follows

    def start(self, stage: str, total: int) -> None:
        self.stages.append(stage)
        self.update(0, total)

    def update(self, done: int, total: int) -> None:
        is_due = self._follows is None or self._follows in self.stages
        if is_due and self.stages[-1] == self._stage and done >= self._after:
            raise KeyboardInterrupt


def run(progress: SilentProgress, **precision: Any) -> QuantizationResult:
    values = small_config(**{**RL, **precision}).to_dict()
    values["compression"]["correction"]["sequential"] = True
    values["compression"]["weights"]["bits"] = [2, 4, 8]
    images = random_images(24)
    return quantize(
        small_network(),
        as_dataset(images[:16]),
        load_config(values),
        report_dataset=as_dataset(images[16:]),
        progress=progress,
    )


EVERYTHING = ("sequential pass", "weights made from all calibration images", "test images")


@pytest.mark.parametrize(
    ("stage", "after", "left_out"),
    [
        ("precision search", 12, EVERYTHING),
        ("sequential pass for search", 1, EVERYTHING),
        ("weight table", 0, EVERYTHING),
        ("report", 0, ("test images",)),
    ],
)
def test_ctrl_c_after_a_policy_was_found_saves_it(
    stage: str, after: int, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    progress = Interrupted(stage, after, follows="precision search")
    result = run(progress)
    assert result.search.ended_by == "interrupted"
    assert result.search.left_out == left_out
    assert progress.stages[-1] == stage
    result.save(tmp_path)
    written = read_json(tmp_path / "result.json")
    assert written["verified"] is True
    assert written["search"]["left_out"] == list(left_out)
    assert ("agreement" in written["metrics"]["quantized"]) is False
    assert written["metrics"]["quantized"]["average_weight_bits"] <= 4
    assert result_table(result).row_count
    assert f"warning: left out after the interruption: {', '.join(left_out)}" in list(result_lines(result, tmp_path))


def test_ctrl_c_before_anything_is_scored_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted("statistics for search", 1))
    with pytest.raises(KeyboardInterrupt):
        # Among the sensitivities: what they score keeps no budget.
        run(Interrupted("precision search", 2))


def test_a_time_limit_leaves_out_the_sequential_pass_alone(tmp_path: Path) -> None:
    result = run(SilentProgress(), time_limit=1e-6)
    assert (result.search.ended_by, result.search.left_out) == ("time_limit", ("sequential pass",))
    assert result.search.final_weights.sequential_score is None
    assert "kl" in result.metrics["quantized"]
    result.save(tmp_path)
    lines = list(result_lines(result, tmp_path))
    assert "warning: left out after the time limit: sequential pass" in lines


def test_a_whole_search_leaves_out_nothing() -> None:
    result = run(SilentProgress(), evaluations=8)
    assert (result.search.ended_by, result.search.left_out) == (None, ())
    assert "ended_by" not in result.to_dict()["search"]
    final = result.search.final_weights
    assert final.table_score is not None
    assert final.sequential_score is not None
    assert final.table_score != final.sequential_score
    (line,) = [line for line in result_lines(result, Path()) if line.startswith("sequential pass: ")]
    assert line.startswith(
        f"sequential pass: distance from the float model {final.table_score:.4g} -> {final.sequential_score:.4g} on "
    )


def test_an_integer_program_that_is_interrupted_before_its_score_is_used(tmp_path: Path) -> None:
    class LastScore(SilentProgress):
        last = False

        def update(self, done: int, total: int) -> None:
            self.last = self.last or (done == total and total == 5)

    progress = LastScore()

    def score(outputs: Any, reference: Any) -> float:
        if progress.last:
            raise KeyboardInterrupt
        return float(((outputs - reference) ** 2).mean())

    config = small_config(type="ilp", budget=SIZE, measured_widths=1)
    images = random_images(16)
    result = quantize(small_network(), as_dataset(images), config, score=score, progress=progress)
    assert result.search.score is None
    assert result.search.ended_by == "interrupted"
    result.save(tmp_path)
    assert read_json(tmp_path / "result.json")["verified"] is True
