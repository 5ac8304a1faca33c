from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from openvino_eval.compare import Comparison, ComparisonRow
from openvino_eval.errors import EvaluationError
from openvino_eval.report import (
    bits_chart,
    bits_histogram,
    format_bytes,
    format_label,
    format_milliseconds,
    format_number,
    format_percent,
    layer_columns,
    render_report,
    write_report,
)
from openvino_eval.run_result import LayerResult, RunResult, load_run
from openvino_eval.runtime import Precision

RESULT: dict[str, Any] = {
    "metrics": {
        "float": {"top1": 0.902, "bin_bytes": 13_987_000},
        "quantized": {"top1": 0.87, "bin_bytes": 1_900_000, "average_weight_bits": 3.98, "agreement": 0.938},
    },
    "layers": [
        {"name": "first", "bits": None, "rule": None, "runtime_precision": "f32", "weights": 432},
        {"name": "second<b>", "bits": 3, "rule": "mse", "runtime_precision": "u8", "weights": 12345},
        {"name": "third", "bits": 8, "rule": "max", "runtime_precision": "u8", "weights": 9, "shape": [1, 2]},
    ],
    "search": {"method": "rl", "budget": {"average_bits": 4.0}, "history": [{"score": 1}] * 3, "seeds": [0, 1]},
    "timing": {"search_seconds": 12.345},
    "versions": {"openvino": "2026.4.1"},
}


class Elements(HTMLParser):
    """Counts elements and checks that every one is closed."""

    VOID = frozenset({"meta", "line", "br", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def comparison_of(**changes: Any) -> Comparison:
    row = ComparisonRow(
        name="model",
        path="model.xml",
        precision=Precision.F32,
        bin_bytes=4_860_000,
        xml_bytes=500,
        integer_layers=2,
        compute_layers=3,
    )
    other = row.model_copy(update={"name": "other", **changes})
    return Comparison(rows=(row, other), samples=50, threads=1, device="CPU", openvino_version="1")


def run_of(bits: list[int | None]) -> RunResult:
    return RunResult(layers=tuple(LayerResult(name=f"layer {index}", bits=width) for index, width in enumerate(bits)))


def test_a_report_is_whole_and_loads_nothing() -> None:
    run = RunResult.model_validate(RESULT)
    text = render_report(comparison=comparison_of(top1=0.5, latency_ratio=0.512), runs={"run & more": run}, title="T")
    elements = Elements(text)
    assert elements.open == []
    assert elements.counts["rect"] == 3
    assert elements.counts["h2"] == 2
    assert not re.search(r"\b(src|href)=|@import|url\(|<script|https?://", text)
    assert "second&lt;b&gt;" in text
    assert "second<b>" not in text
    assert "run &amp; more" in text
    for shown in ("87.0 %", "float 90.2 %", "1.90 MB", "float 14.0 MB", "3.98", "12,345", "0.51×", "2 of 3", "12.35"):
        assert shown in text, shown
    assert "Budget / Average bits" in text
    assert "3 entries" in text
    assert "Undefined" not in text


@pytest.mark.parametrize(
    ("comparison", "runs"),
    [
        (comparison_of(), {}),
        (comparison_of(median_ms=1.5, kl=0.1), {"a": run_of([4])}),
        (None, {"empty": run_of([])}),
        (None, {"long": run_of([2, 8, None] * 80)}),
    ],
)
def test_parts_may_be_missing(comparison: Comparison | None, runs: dict[str, RunResult]) -> None:
    elements = Elements(render_report(comparison=comparison, runs=runs))
    assert elements.open == []
    assert elements.counts.get("rect", 0) == sum(len(run.layers) for run in runs.values())


def test_columns_are_as_high_as_the_bits() -> None:
    chart = bits_chart(run_of([2, 4, 8, None]).layers)
    heights = [bar.height for bar in chart.bars]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.02)
    assert heights[2] == heights[3] == pytest.approx(4 * heights[0], abs=0.04)
    for bar in chart.bars:
        assert bar.y + bar.height == pytest.approx(chart.baseline, abs=0.02)
        assert chart.left <= bar.x
        assert bar.x + bar.width <= chart.width
    assert [bits for _, bits in chart.grid] == [0, 2, 4, 6, 8]
    assert chart.bars[0].label == "1. layer 0: 2 bits"
    assert chart.bars[3].label == "4. layer 3: float"


@pytest.mark.parametrize("layers", [1, 24, 25, 53, 160, 500])
def test_ticks_keep_their_distance(layers: int) -> None:
    chart = bits_chart(run_of([4] * layers).layers)
    positions = [position for position, _ in chart.ticks]
    assert all(after - before > 24 for before, after in itertools.pairwise(positions))
    assert all(after.x >= before.x + before.width for before, after in itertools.pairwise(chart.bars))


def test_the_histogram_counts_every_layer() -> None:
    assert bits_histogram(run_of([8, 2, None, 2]).layers) == [(2, 2), (8, 1), (None, 1)]


def test_columns_are_what_any_layer_holds() -> None:
    layers = RunResult.model_validate(RESULT).layers
    assert layer_columns(layers) == ["name", "bits", "rule", "runtime_precision", "weights"]
    assert layer_columns(run_of([4]).layers) == ["name", "bits"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (4_860_000, "4.86 MB"), (13_987_000, "14.0 MB"), (2e8, "200 MB"),
     (999_900, "1.00 MB"), (5e12, "5000 GB"), (None, "–")],
)  # fmt: skip
def test_bytes_are_readable(value: float | None, text: str) -> None:
    assert format_bytes(value) == text


def test_other_values_are_readable() -> None:
    assert [format_percent(value) for value in (0.8825, 1.0, None, float("nan"))] == ["88.2 %", "100.0 %", "–", "–"]
    assert [format_milliseconds(value) for value in (1.5, 12.34, 123.4, 0.01234, 0.0, None)] == [
        "1.50 ms", "12.3 ms", "123 ms", "0.0123 ms", "0 ms", "–",
    ]  # fmt: skip
    assert [format_number(value) for value in (True, 7, 1234567, 0.000123456, "x", None)] == [
        "yes", "7", "1,234,567", "0.0001235", "x", "–",
    ]  # fmt: skip
    assert [format_label(key) for key in ("runtime_precision", "kl", "weight_kl")] == [
        "Runtime precision", "KL", "Weight KL",
    ]  # fmt: skip


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT | {"new_key": 1}), encoding="utf-8")
    run = load_run(tmp_path)
    assert [layer.bits for layer in run.layers] == [None, 3, 8]
    write_report(tmp_path / "new" / "report.html", runs={"run": run})
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no result.json"),
        ("{}", r"result\.json: layers: "),
        ('{"layers": [{"name": "a", "bits": "many"}]}', r"result\.json: layers\.0\.bits: "),
        ("no JSON", r"result\.json: Invalid JSON"),
    ],
)
def test_a_folder_without_a_usable_result_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message):
        load_run(tmp_path)
