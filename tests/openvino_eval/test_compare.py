from __future__ import annotations

from pathlib import Path

import pytest

from openvino_eval.compare import Comparison, compare_models
from openvino_eval.errors import EvaluationError
from openvino_eval.runtime import Precision
from openvino_eval.samples import ArraySamples


@pytest.fixture(scope="module")
def comparison(float_ir: Path, int8_ir: Path, samples: ArraySamples) -> Comparison:
    models = {"float": float_ir, "int8": int8_ir}
    return compare_models(models, samples, bf16=True, batch_size=4, rounds=2, seconds=0.005)


def test_rows_hold_what_was_measured(comparison: Comparison, float_ir: Path, int8_ir: Path) -> None:
    assert [row.name for row in comparison.rows] == ["float", "float (bf16)", "int8"]
    first, bf16, int8 = comparison.rows
    assert (first.top1, first.agreement, first.latency_ratio) == (pytest.approx(19 / 21), 1.0, 1.0)
    assert first.kl == pytest.approx(0.0, abs=1e-6)
    assert (first.integer_layers, first.compute_layers) == (0, 3)
    assert (int8.integer_layers, int8.compute_layers) == (3, 3)
    assert int8.bin_bytes == int8_ir.with_suffix(".bin").stat().st_size
    assert int8.xml_bytes == int8_ir.stat().st_size
    assert int8.kl is not None
    assert int8.kl > 1e-6
    assert int8.median_ms is not None
    assert int8.median_ms > 0.0
    assert bf16.precision is Precision.BF16
    assert bf16.path == first.path == str(float_ir)
    assert comparison.samples == 21
    assert comparison.device


def test_it_comes_back_from_a_file(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    comparison.save(path)
    assert Comparison.load(path) == comparison


def test_what_is_not_measured_is_none(float_ir: Path) -> None:
    row = compare_models({"float": float_ir}, latency=False).rows[0]
    assert row.top1 is row.agreement is row.kl is row.median_ms is row.latency_ratio is None
    assert row.compute_layers == 3


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"rows": 1}'])
def test_a_file_that_is_no_comparison_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"comparison\.json: not a comparison: .") as caught:
        Comparison.load(path)
    assert "\n" not in str(caught.value)


def test_bad_models_are_named(float_ir: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no model"):
        compare_models({})
    with pytest.raises(EvaluationError, match=r"no\.xml: no such file"):
        compare_models({"float": float_ir, "other": tmp_path / "no.xml"})
