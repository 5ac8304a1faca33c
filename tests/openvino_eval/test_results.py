from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openvino_eval.compare import MODELS_FILE, Comparison, ComparisonRow
from openvino_eval.errors import EvaluationError
from openvino_eval.options import Precision
from openvino_eval.results import collect, load_groups, load_published, markdown, merge, save_groups

RUN: dict[str, Any] = {
    "metrics": {
        "float": {"top1": 0.9, "bin_bytes": 4000},
        "quantized": {"top1": 0.8825, "bin_bytes": 500, "average_weight_bits": 3.9512, "agreement": 0.95},
    },
    "layers": [
        {"name": "first", "bits": 3, "activation_bits": 8, "runtime_precision": "u8"},
        {"name": "second", "bits": 4, "activation_bits": 6, "runtime_precision": "f32"},
    ],
    "search": {"method": "ilp", "dataset": {"report": 200}},
    "timing": {"seconds": {"search": 7.0, "report": 5.25}},
    "origin": {"config": "demo", "command": "nncf-mcq quantize demo --output out"},
}


def row(name: str, folder: Path, **values: Any) -> ComparisonRow:
    path = str(folder / name.lower().replace(" ", "_") / "model.xml")
    known = {"bin_bytes": 4000, "xml_bytes": 1, "integer_layers": 0, "compute_layers": 2, "precision": Precision.F32}
    return ComparisonRow.model_validate({"name": name, "path": path, **known, **values})


def write_run(folder: Path, run: dict[str, Any] = RUN) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(run))
    return folder


def write_comparison(folder: Path, **changes: Any) -> Path:
    write_run(folder / "mixed")
    rows = (
        row("FP32", folder, metrics={"top1": 0.9}, median_ms=4.0, latency_ratio=1.0),
        row(
            "NNCF INT8",
            folder,
            metrics={"top1": 0.895, "agreement": 0.99},
            median_ms=2.0,
            latency_ratio=0.5,
            integer_layers=2,
        ),
        row(
            "mixed",
            folder,
            metrics={"top1": 0.88, "agreement": 0.9},
            bin_bytes=500,
            median_ms=2.2,
            latency_ratio=0.525,
            integer_layers=2,
        ),
    )
    named = {"model": "demo", "command": "python recipes/compare.py demo --output out"} | changes
    comparison = Comparison(rows=rows, samples=200, threads=2, device="CPU", openvino_version="1", **named)
    comparison.save(folder / MODELS_FILE)
    return folder


def test_a_comparison_takes_widths_and_times_from_its_runs(tmp_path: Path) -> None:
    table = markdown([collect(write_comparison(tmp_path / "out"))], [], "remake")
    lines = [line for line in table.splitlines() if line.startswith("|")]
    dash = "\N{EN DASH}"
    assert lines[0] == (
        "| method | W bits | A bits | top-1 % | drop | agree % | .bin | of FP32 | int8 | latency | seconds |"
    )
    assert lines[2:] == [
        f"| FP32 | 32 | 32 | 90.00 | {dash} | {dash} | 4.00 kB | 1.000 | 0/2 | 2.00 | {dash} |",
        f"| NNCF INT8 | 8 | 8 | 89.50 | 0.50 | 99.00 | 4.00 kB | 1.000 | 2/2 | 1.00 | {dash} |",
        "| mixed | 3.951 | 6-8 | 88.00 | 2.00 | 90.00 | 500 B | 0.125 | 2/2 | 1.05 | 12 |",
    ]
    assert "`python recipes/compare.py demo --output out`, 200 test images, CPU:" in table
    assert "Made by `remake`" in table


def test_a_run_counts_its_layers_on_int8_kernels(tmp_path: Path) -> None:
    group = collect(write_run(tmp_path / "out"))
    assert (group.model, group.command, group.samples) == ("demo", "nncf-mcq quantize demo --output out", 200)
    fp32, quantized = group.rows
    assert (fp32.method, fp32.bin_bytes, fp32.integer_layers) == ("FP32", 4000, 0)
    assert (quantized.method, quantized.weight_bits, quantized.activation_bits) == ("ilp", 3.951, "6-8")
    assert (quantized.integer_layers, quantized.compute_layers, quantized.seconds) == (1, 2, 12.2)
    assert quantized.metrics == {"top1": 0.8825, "agreement": 0.95}


def test_a_repeated_command_replaces_its_results(tmp_path: Path) -> None:
    first = collect(write_run(tmp_path / "first"))
    again = first.model_copy(update={"samples": 7})
    other = first.model_copy(update={"command": "another"})
    merged = merge([first, other], [again])
    assert merged == [other, again]
    save_groups(tmp_path / "results.json", merged)
    assert load_groups(tmp_path / "results.json") == merged
    assert load_groups(tmp_path / "missing.json") == []


def test_the_published_figures_of_the_project_are_drops(project_root: Path) -> None:
    figures = load_published(project_root / "recipes" / "published.json")
    text = markdown([], figures, "remake")
    assert "| ResNet50 | HAQ, k-means, a tenth of the size, fine-tuned | W mixed | top-1 | 0.67 |" in text
    assert "| 2.7 less than HAQ, 0.3 less than ZeroQ |" in text
    assert all(figure.source for figure in figures)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder.mkdir(), "not an output folder of nncf-mcq, it has no result.json"),
        (
            lambda folder: write_run(folder, {**RUN, "origin": None}),
            "not written by `nncf-mcq quantize`, or by an older version",
        ),
        (lambda folder: write_comparison(folder, command=None), "does not say what was compared by which command"),
    ],
)
def test_a_folder_that_says_too_little_is_named(tmp_path: Path, write: Any, message: str) -> None:
    folder = tmp_path / "out"
    write(folder)
    with pytest.raises(EvaluationError, match=message) as caught:
        collect(folder)
    assert str(folder) in str(caught.value)


def test_the_command_keeps_what_it_was_given_before(tmp_path: Path) -> None:
    write_comparison(tmp_path / "out")
    command = [sys.executable, "-m", "openvino_eval.cli", "table", "--data", "results.json", "--output", "RESULTS.md"]
    done = subprocess.run([*command, "out"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "RESULTS.md").read_text()
    assert "Made by `openvino-eval table --data results.json --output RESULTS.md`." in text
    (tmp_path / "out" / MODELS_FILE).unlink()
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "RESULTS.md").read_text() == text
    (tmp_path / "results.json").write_text('[{"model": "demo"}]')
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: results.json: 0.command: Field required\n")
