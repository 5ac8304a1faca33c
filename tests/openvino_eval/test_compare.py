from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from openvino_eval.compare import MODELS_FILE, Comparison, compare_models, find_comparison
from openvino_eval.errors import EvaluationError
from openvino_eval.machine import MachineLoad, spread_warnings
from openvino_eval.options import Precision
from openvino_eval.samples import ArraySamples


@pytest.fixture(scope="module")
def comparison(float_ir: Path, int8_ir: Path, samples: ArraySamples) -> Comparison:
    models = {"float": float_ir, "int8": int8_ir}
    return compare_models(models, samples, bf16=True, batch_size=4, rounds=2, seconds=0.005)


def test_rows_hold_what_was_measured(comparison: Comparison, float_ir: Path, int8_ir: Path) -> None:
    assert [row.name for row in comparison.rows] == ["float", "float (bf16)", "int8"]
    first, bf16, int8 = comparison.rows
    assert comparison.metrics == ["top1", "agreement", "kl"]
    assert (first.metrics["top1"], first.metrics["agreement"]) == (pytest.approx(19 / 21), 1.0)
    assert first.latency_ratio == 1.0
    assert first.metrics["kl"] == pytest.approx(0.0, abs=1e-6)
    assert (first.integer_layers, first.compute_layers) == (0, 3)
    assert (int8.integer_layers, int8.compute_layers) == (3, 3)
    assert int8.bin_bytes == int8_ir.with_suffix(".bin").stat().st_size
    assert int8.xml_bytes == int8_ir.stat().st_size
    assert int8.metrics["kl"] > 1e-6
    assert int8.median_ms is not None
    assert int8.median_ms > 0.0
    assert bf16.precision is Precision.BF16
    assert bf16.path == first.path == str(float_ir)
    assert comparison.samples == 21
    assert comparison.device


def test_all_ratios_are_of_the_same_rounds(comparison: Comparison) -> None:
    first, bf16, int8 = (row.latency_ratio or 0.0 for row in comparison.rows)
    assert comparison.latency_ratios("float") == {"float": first, "float (bf16)": bf16, "int8": int8}
    assert comparison.latency_ratios("int8") == {"float": 1 / int8, "float (bf16)": bf16 / int8, "int8": 1.0}
    assert comparison.latency_ratios("another") == {}


@pytest.mark.parametrize(
    ("others", "quartiles", "words"),
    [
        (0.01, (0.98, 1.0, 1.02), []),
        (0.5, (0.98, 1.0, 1.02), ["other programs took 50 % of the processor"]),
        (0.01, (0.8, 1.0, 1.02), ["latency: the quartiles of the rounds are more than 10 % apart for int8"]),
    ],
)
def test_a_busy_machine_is_warned_of(others: float, quartiles: tuple[float, float, float], words: list[str]) -> None:
    found = [*MachineLoad(others, 3.0, 2).warnings(), *spread_warnings({"float": (1.0, 1.0, 1.0), "int8": quartiles})]
    assert [text[: len(start)] for text, start in zip(found, words, strict=True)] == words


def test_it_comes_back_from_a_file(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / MODELS_FILE
    comparison.save(path)
    assert Comparison.load(path) == comparison
    assert find_comparison(tmp_path) == path


def test_a_file_of_an_older_version_is_read(comparison: Comparison, tmp_path: Path) -> None:
    content = json.loads(comparison.model_dump_json())
    for row in content["rows"]:
        row |= {name: row["metrics"].pop(name) for name in ("top1", "agreement", "kl")}
    # What recipes wrote, which had them twice, and what was not measured.
    content["rows"][1]["metrics"] = {"top1": content["rows"][1]["top1"], "map50": 0.5}
    content["rows"][2] |= {"top1": None, "kl": None}
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    path = find_comparison(tmp_path)
    assert path == tmp_path / "comparison.json"
    first, second, third = Comparison.load(path).rows
    assert first == comparison.rows[0]
    assert second.metrics == comparison.rows[1].metrics | {"map50": 0.5}
    assert third.metrics == {"agreement": comparison.rows[2].metrics["agreement"]}


def test_the_results_of_a_contest_are_no_comparison_of_models(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text('{"setup": {}, "methods": []}')
    assert find_comparison(tmp_path) is None
    (tmp_path / "comparison.json").write_text("no JSON")
    with pytest.raises(EvaluationError, match=r"comparison\.json: Invalid JSON"):
        find_comparison(tmp_path)


def test_what_is_not_finite_comes_back(comparison: Comparison, tmp_path: Path) -> None:
    row = comparison.rows[0].model_copy(update={"metrics": {"kl": math.inf}})
    comparison.model_copy(update={"rows": (row,)}).save(tmp_path / MODELS_FILE)
    assert Comparison.load(tmp_path / MODELS_FILE).rows[0].metrics == {"kl": math.inf}


def test_the_metrics_are_those_that_are_asked_for(float_ir: Path, samples: ArraySamples) -> None:
    found = compare_models({"float": float_ir}, samples, metrics=["top5"], latency=False)
    assert found.metrics == ["top5", "agreement", "kl"]
    assert found.rows[0].metrics["top5"] >= 19 / 21
    with pytest.raises(EvaluationError, match="metric: found 'speed'"):
        compare_models({"float": float_ir}, samples, metrics=["speed"])


def test_what_is_not_measured_is_none(float_ir: Path) -> None:
    row = compare_models({"float": float_ir}, latency=False).rows[0]
    assert row.median_ms is row.latency_ratio is None
    assert row.metrics == {}
    assert row.compute_layers == 3


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"rows": 1}'])
def test_a_file_that_is_no_comparison_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / MODELS_FILE
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"models\.json: .") as caught:
        Comparison.load(path)
    assert "\n" not in str(caught.value)


def test_bad_models_are_named(float_ir: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no model"):
        compare_models({})
    with pytest.raises(EvaluationError, match=r"no\.xml: no such file"):
        compare_models({"float": float_ir, "other": tmp_path / "no.xml"})
