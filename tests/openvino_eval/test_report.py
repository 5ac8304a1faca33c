from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openvino as ov
import plotly.graph_objects
import pytest

from nncf_mcq.config.output_files import Histograms, RunResult
from nncf_mcq.latency import node_times
from nncf_mcq.utils import DARK, LIGHT
from openvino_eval.compare import MODELS_FILE, Comparison, ComparisonRow
from openvino_eval.errors import EvaluationError
from openvino_eval.layer_times import LayerTime, measure_layer_times
from openvino_eval.options import Precision
from openvino_eval.report import read_sources, render_report, write_report
from openvino_eval.report.figures import (
    Figure,
    layers_figure,
    pareto_figure,
    rules_figure,
    times_figure,
    weights_figure,
)
from openvino_eval.report.models import ModelRow, overview, pareto_front, without_outdated
from openvino_eval.report.page import layer_columns
from openvino_eval.report.thumbnails import HEIGHT, WIDTH, thumbnail
from openvino_eval.run_result import Run, load_run

RESULT: dict[str, Any] = {
    "metrics": {
        "float": {"top1": 0.902, "bin_bytes": 13_987_000},
        "quantized": {"top1": 0.87, "bin_bytes": 1_900_000, "average_weight_bits": 3.98, "agreement": 0.938},
    },
    "layers": [
        {"name": "first", "bits": None, "rule": None, "runtime_precision": "f32", "weights": 432},
        {
            "name": "second<b>", "bits": 3, "rule": "mse", "runtime_precision": "u8", "weights": 12345,
            "group": "second", "rule_channels": {"mse": 3, "max": 1},
        },
        {"name": "third", "bits": 8, "rule": "max", "runtime_precision": "u8", "weights": 9, "shape": [1, 2]},
    ],
    "search": {
        "method": "rl", "budget": {"average_bits": 4.0}, "history": [{"score": 1}] * 3, "seeds": [0, 1],
        "evaluations": 20,
        "details": {"sensitivities": {"second": {"2": 0.1, "3": 0.01, "8": 0.0}}, "curve": [[5, 0.4], [9, 0.2]]},
    },
    "timing": {"search_seconds": 12.345},
    "versions": {"openvino": "2026.4.1"},
}  # fmt: skip
HISTOGRAM = {
    "float_counts": [0, 10, 10, 0],
    "level_counts": [1, 2, 4, 6, 4, 2, 1, 0],
    "clipped": 0.125,
    "thresholds": [0.1, 0.2, 0.3],
    "largest": 0.5,
}
CONFIG = json.dumps({"model": "</script><script>alert(1)</script>", "compression": {"weights": {"bits": [2, 3]}}})


class Elements(HTMLParser):
    """Counts elements and checks that every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def comparison_of(**changes: Any) -> Comparison:
    row = ComparisonRow(
        name="float model",
        path="float.xml",
        precision=Precision.F32,
        bin_bytes=13_987_000,
        xml_bytes=500,
        integer_layers=0,
        compute_layers=3,
    )
    int8 = row.model_copy(update={"name": "NNCF INT8", "bin_bytes": 4_860_000, "integer_layers": 2})
    other = row.model_copy(update={"name": "run & more", "bin_bytes": 1_900_000, "integer_layers": 2, **changes})
    return Comparison(rows=(row, int8, other), samples=50, threads=1, device="CPU", openvino_version="1")


def run_of(result: dict[str, Any] = RESULT, **changes: Any) -> Run:
    return Run(RunResult.model_validate({**result, **changes}))


def whole_run() -> Run:
    run = run_of()
    histograms = Histograms.model_validate({"reach": 2.0, "layers": {"second<b>": HISTOGRAM, "third": HISTOGRAM}})
    times = [LayerTime("conv", "Convolution", "u8", 0.3), LayerTime("pool", "Pooling", "f32", 0.1)]
    return Run(run.result, histograms, CONFIG).with_layer_times(times)


def test_a_report_is_whole_and_loads_nothing() -> None:
    text = render_report(
        comparison=comparison_of(metrics={"top1": 0.5}, median_ms=1.5, latency_ratio=0.512),
        runs={"run & more": whole_run()},
        title="T",
    )
    elements = Elements(text)
    assert elements.open == []
    assert elements.counts["figure"] == 6
    own = re.sub(r'<script type="text/plain" id="plotly-gzip">.*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r"\bsrc=|href=(?!\"#)|@import|url\(|https?://", own)
    assert "second&lt;b&gt;" in own
    assert "second<b>" not in own
    assert "alert(1)</script>" not in own
    # The browser is told so as well.
    assert "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'" in own
    # Two scripts that run: the page's own, and none that a name brought along.
    assert own.count("<script>") == 1
    for shown in ("50.0 %", "90.2 %", "1.90 MB", "7.4× smaller than FP32", "2.6× smaller than INT8", "3.98", "0.51×"):
        assert shown in own, shown
    assert "Budget / Average bits" in own
    assert "Undefined" not in own


def test_the_tile_and_the_table_show_one_ratio() -> None:
    measured = comparison_of(median_ms=1.5, latency_ratio=0.9)
    rows = [
        row.model_copy(update={"median_ms": 2.0, "latency_ratio": ratio})
        for row, ratio in zip(measured.rows[:2], (1.0, 0.6), strict=True)
    ]
    measured = measured.model_copy(update={"rows": (*rows, measured.rows[2]), "warnings": ("a busy machine",)})
    text = render_report(comparison=measured, runs={"run & more": run_of()})
    # Not 1.5 / 2.0.
    assert "0.90× FP32, 1.50× INT8" in text
    assert "0.75×" not in text
    assert "<strong>Latency:</strong> a busy machine." in text


def test_layers_show_what_they_take_undisturbed(int8_ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed = iter([1.0, 15.0, 1.0, 1.0, 1.0])

    def delayed(compiled: ov.CompiledModel, *, seconds: float) -> dict[str, float]:
        factor = next(disturbed)
        return dict.fromkeys(node_times(compiled, seconds=0.0), factor)

    monkeypatch.setattr("openvino_eval.layer_times.node_times", delayed)
    assert {item.milliseconds for item in measure_layer_times(int8_ir, threads=1, seconds=0.01)} == {1.0}


@pytest.mark.parametrize(
    ("comparison", "runs"),
    [
        (comparison_of(), {}),
        (comparison_of(median_ms=1.5, metrics={"kl": 0.1}), {"a": run_of(metrics={})}),
        (None, {"empty": run_of(layers=[], search=None)}),
        (None, {"long": run_of(layers=[{"name": f"layer {i}", "bits": (2, 8, None)[i % 3]} for i in range(240)])}),
    ],
)
def test_parts_may_be_missing(comparison: Comparison | None, runs: dict[str, Run]) -> None:
    text = render_report(comparison=comparison, runs=runs)
    assert Elements(text).open == []
    assert "not measured" in text


def colours(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(colours, value.values()), set())
    if isinstance(value, list | tuple):
        return set().union(*map(colours, value), set())
    return {value[1:]} if isinstance(value, str) and value.startswith("$") else set()


def all_figures() -> list[Figure | None]:
    run, models = whole_run(), overview({"run & more": whole_run()}, comparison_of())
    plain = run_of(layers=[{"name": "a", "bits": 4, "relative_error": 0.1}], search=None)
    return [
        layers_figure(run),
        layers_figure(plain),
        rules_figure(run),
        weights_figure(run),
        times_figure(run),
        pareto_figure(models.rows, "top1"),
    ]


@pytest.mark.parametrize("figure", all_figures(), ids=lambda figure: figure.name)
def test_figures_are_what_plotly_knows_in_colours_that_there_are(figure: Figure) -> None:
    for data in [figure.data, *(choice.data for choice in figure.choices)]:
        names = colours([data, dict(figure.layout)])
        assert {name.removesuffix("-soft") if name.startswith("series") else name for name in names} <= set(LIGHT)
        text = json.dumps([list(data), dict(figure.layout)])
        # Plotly's own schema, which refuses unknown keys; the names stand for colours.
        traces, layout = json.loads(re.sub(r'"\$[a-z0-9-]+"', '"red"', text))
        plotly.graph_objects.Figure(data=traces, layout=layout)
    assert set(LIGHT) == set(DARK)
    if figure.table is not None:
        assert all(len(row) == len(figure.table.headings) for row in figure.table.rows)


def test_a_layer_shows_the_sensitivity_of_its_group() -> None:
    figure = layers_figure(whole_run())
    heat = next(trace for trace in figure.data if trace["type"] == "heatmap")
    assert heat["y"] == [2, 3, 8]
    assert [row[1] for row in heat["z"]] == [-1.0, -2.0, None]
    assert [row[0] for row in heat["z"]] == [None] * 3
    assert "Most sensitive: layer 2, second<b>." in figure.description


def test_float_is_the_last_of_the_widths_where_it_was_a_choice() -> None:
    found = {"first": {"8": 0.2, "16": 0.1}, "second": {"3": 0.01, "16": 0.0}}
    figure = layers_figure(run_of(search={"details": {"sensitivities": found}}))
    heat = next(trace for trace in figure.data if trace["type"] == "heatmap")
    assert heat["y"] == [3, 8, 9]
    axis: Any = figure.layout["yaxis2"]
    assert axis["ticktext"] == ["3", "8", "float"]
    assert figure.data[-1]["y"] == [9, 3, 8]
    assert "1 in float" in figure.description


def test_latency_that_a_search_measured_is_shown() -> None:
    search = {"latency": {"ratio_to_int8": {"limit": 1.15, "measured": 1.07}}}
    assert "1.07× int8" in render_report(runs={"run": run_of(search=search)})
    assert "1.07× int8" not in render_report(runs={"run": run_of()})


def test_densities_before_and_after_hold_all_weights() -> None:
    figure = weights_figure(whole_run())
    assert figure is not None
    levels, before = figure.choices[0].data
    spacing = levels["x"][1] - levels["x"][0]
    assert sum(levels["y"]) * spacing == pytest.approx(1, abs=1e-3)
    assert (levels["x"][0], levels["x"][-1]) == (-1, 1)
    assert sum(before["y"]) * (before["x"][1] - before["x"][0]) == pytest.approx(1, abs=1e-3)
    assert "12.5 % of the weights clipped" in figure.choices[0].caption


def test_small_drawings_stand_where_the_large_one_does() -> None:
    figure = weights_figure(whole_run())
    assert figure is not None
    small = thumbnail(figure.choices[0], 2.0)
    assert small.thresholds == (WIDTH / 4, 3 * WIDTH / 4)
    # Seven of the eight levels hold weights; the highest float density leaves some air above.
    assert small.after.count("M") == 7
    heights = [float(pair.split()[1]) for pair in re.findall(r"[\d.]+ [\d.]+", small.before)]
    assert min(heights) == pytest.approx(HEIGHT * (1 - 1 / 1.15), abs=0.1)
    assert max(heights) == HEIGHT


def test_runs_and_measurements_of_one_model_are_one_row() -> None:
    models = overview(
        {"run & more": whole_run(), "other": run_of()}, comparison_of(metrics={"top1": 0.88}, median_ms=2.0)
    )
    assert [row.name for row in models.rows] == ["FP32", "NNCF INT8", "run & more", "other"]
    row = models.row("run & more")
    assert (row.metrics["top1"], row.metrics["agreement"], row.average_bits, row.median_ms) == (0.88, 0.938, 3.98, 2.0)
    assert models.rows[0].metrics["top1"] == 0.902
    assert models.int8_row is models.rows[1]
    assert models.accuracy == "top1"


def test_what_was_measured_of_an_earlier_model_of_a_run_is_left_out() -> None:
    outdated = comparison_of(bin_bytes=1_200_000, median_ms=8.25)
    found = without_outdated({"run & more": whole_run()}, outdated)
    assert [row.name for row in found.rows] == ["float model", "NNCF INT8"]
    assert found.warnings == (
        "run & more was measured with weights of 1.20 MB, and has 1.90 MB since: measure it again",
    )
    text = render_report(comparison=outdated, runs={"run & more": whole_run()})
    assert "measure it again" in text
    assert "8.25 ms" not in text
    assert without_outdated({"run & more": whole_run()}, comparison_of()) == comparison_of()


def test_without_labels_agreement_is_what_models_are_judged_by() -> None:
    quantized = {"agreement": 0.938, "kl": 0.1, "bin_bytes": 10}
    models = overview({"run": run_of(metrics={"float": {"bin_bytes": 40}, "quantized": quantized})}, None)
    assert models.accuracy == "agreement"
    assert models.rows[0].metrics["agreement"] == 1.0


def test_the_front_is_what_nothing_beats() -> None:
    points = [("a", 10, 0.5), ("b", 20, 0.4), ("c", 20, 0.7), ("d", 30, 0.7), ("e", 40, 0.9)]
    rows = [ModelRow(name, metrics={"top1": value}, bin_bytes=size) for name, size, value in points]
    assert [row.name for row in pareto_front(rows, "top1")] == ["a", "c", "e"]
    low_is_good = [ModelRow(name, metrics={"kl": value}, bin_bytes=size) for name, size, value in points]
    assert [row.name for row in pareto_front(low_is_good, "kl")] == ["a", "b"]


def test_columns_are_what_any_layer_holds() -> None:
    assert layer_columns(run_of().result.layers) == ["name", "bits", "rule", "runtime_precision", "weights"]


def test_layers_are_timed(int8_ir: Path) -> None:
    times = measure_layer_times(int8_ir, threads=1, seconds=0.01)
    assert [item.milliseconds for item in times] == sorted((item.milliseconds for item in times), reverse=True)
    assert {item.layer_type for item in times} >= {"Convolution"}
    assert any(item.precision in ("i8", "u8") for item in times)
    with pytest.raises(EvaluationError, match="no such file"):
        measure_layer_times(int8_ir.with_name("none.xml"))


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT | {"new_key": 1}), encoding="utf-8")
    run = load_run(tmp_path)
    assert [layer.bits for layer in run.result.layers] == [None, 3, 8]
    assert (run.histograms, run.config, run.model) == (None, None, None)
    write_report(tmp_path / "new" / "report.html", runs={"run": run})
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "the folder has no histograms.json" in text


def test_what_verification_found_is_told(tmp_path: Path) -> None:
    found = {"problems": ["input 0, output 0: 3 of 9 values differ"], "warnings": ["layer 'a<b>' runs in f32: cause"]}
    for verified in (True, False):
        content = {**RESULT, "verified": verified, "verification": {**found, "difference": 0.5}}
        if verified:
            content["verification"]["problems"] = []
        (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
        for name in ("model.xml", "model.unverified.xml"):
            (tmp_path / name).touch()
        run = load_run(tmp_path)
        assert run.model == tmp_path / ("model.xml" if verified else "model.unverified.xml")
        page = render_report(runs={"run": run})
        assert "layer &#39;a&lt;b&gt;&#39; runs in f32: cause" in page
        text = (
            "the file does not give the outputs of the model that was scored: input 0, output 0: 3 of 9 values differ"
        )
        assert (text in page) != verified


def test_a_folder_of_folders_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(RESULT), encoding="utf-8")
    comparison_of().save(tmp_path / MODELS_FILE)
    sources = read_sources({"demo": tmp_path})
    assert list(sources.runs) == ["demo/a", "demo/b"]
    assert sources.comparison == comparison_of()


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


def test_a_folder_with_nothing_to_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="nothing to report, it has neither"):
        read_sources({"empty": tmp_path})


QUALITY: dict[str, Any] = {
    "images": "test",
    "count": 12,
    "outputs": [
        {
            "name": "found<i>", "kind": "boxes", "description": "boxes with 5 classes",
            "metrics": {"box_map50": 0.97, "sqnr_db": 51.6},
            "worst": {"index": 3, "name": "val/cat.jpg", "metric": "box_agreement", "value": 0.9},
        }
    ],
}  # fmt: skip


def detector_run(**changes: Any) -> Run:
    quantized = {"bin_bytes": 1_900_000, "average_weight_bits": 3.98, "box_map50": 0.97, "sqnr_db": 51.6}
    metrics = {
        "float": {"bin_bytes": 13_987_000},
        "quantized": quantized,
        "nncf_int8": {"bin_bytes": 4_860_000, "xml_bytes": 1000, "box_map50": 0.98, "sqnr_db": 53.0},
    }
    return run_of(**{"metrics": metrics, "quality": QUALITY, **changes})


def test_every_model_has_a_quality_and_nncf_int8_beside_it() -> None:
    models = overview({"detector": detector_run()}, None)
    assert models.accuracy == "box_map50"
    assert [row.name for row in models.rows] == ["FP32", "detector", "NNCF INT8"]
    assert models.rows[0].metrics["box_map50"] == 1.0
    assert models.int8_row is models.rows[2]
    text = render_report(runs={"detector": detector_run()})
    for shown in ("97.0 %", "on 12 test images; NNCF INT8 98.0 %", "2.6× smaller than INT8", "worst val/cat.jpg"):
        assert shown in text, shown
    assert "found&lt;i&gt;: boxes with 5 classes" in text
    assert "which neither calibration nor search used" in text


def test_bits_and_kernels_of_the_float_model_and_of_nncf_int8_are_those_of_their_files() -> None:
    files = {
        "float": {"average_weight_bits": 16.0, "integer_layers": 0, "layers": 27},
        "nncf_int8": {"average_weight_bits": 8.41, "integer_layers": 26, "layers": 27},
    }
    rows = {row.name: row for row in overview({"detector": detector_run(references=files)}, None).rows}
    assert (rows["FP32"].average_bits, rows["FP32"].integer_layers, rows["FP32"].compute_layers) == (16, 0, 27)
    assert (rows["NNCF INT8"].average_bits, rows["NNCF INT8"].integer_layers) == (8.41, 26)
    text = render_report(runs={"detector": detector_run(references=files)})
    for shown in (">16.00<", ">8.41<", ">0 of 27<", ">26 of 27<"):
        assert shown in text, shown


def test_a_quality_of_calibration_images_is_called_so() -> None:
    metrics = {"float": {"bin_bytes": 9}, "quantized": {"bin_bytes": 3}}
    quality = QUALITY | {"images": "calibration"}
    text = render_report(runs={"detector": detector_run(metrics=metrics, quality=quality)})
    assert "on 12 calibration images, which the quantization has seen" in text
    assert "which neither calibration nor search used" not in text
    assert "97.0 %" in text


def test_signals_of_single_outputs_are_no_columns() -> None:
    metrics = {"quantized": {"nme_to_float": 0.1, "sqnr_db": 12.0, "sqnr_db points": 12.0, "sqnr_db score": 14.0}}
    assert overview({"run": run_of(metrics=metrics)}, None).metrics == ["nme_to_float", "sqnr_db"]


def test_a_configuration_that_is_no_text_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"layers": []}', encoding="utf-8")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(EvaluationError, match=r"config\.json: cannot be read: 'utf-8' codec"):
        load_run(tmp_path)
