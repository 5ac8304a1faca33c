from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from openvino_eval.cli import main, parse_models
from openvino_eval.compare import compare_models
from openvino_eval.errors import EvaluationError
from openvino_eval.samples import ArraySamples


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command line in this process; returns exit code, stdout and stderr."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["openvino-eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run_command


@pytest.fixture
def data(tmp_path: Path, samples: ArraySamples) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, images=samples.images, targets=samples.targets)
    return path


def test_accuracy(run, float_ir: Path, int8_ir: Path, data: Path, tmp_path: Path) -> None:
    written = tmp_path / "scores.json"
    code, output, _ = run("accuracy", float_ir, f"small={int8_ir}", "--data", data, "--json", written)
    assert code == 0
    assert "21 samples" in output
    scores = json.loads(written.read_text(encoding="utf-8"))
    assert list(scores) == ["float", "small"]
    assert scores["float"]["top1"] == pytest.approx(19 / 21)
    assert set(scores["small"]) == {"top1", "agreement", "kl"}
    assert f"{scores['small']['kl']:.4f}" in output


def test_benchmark(run, float_ir: Path, int8_ir: Path, tmp_path: Path) -> None:
    written = tmp_path / "latency.json"
    arguments = ("--rounds", 2, "--seconds", 0.005, "--json", written)
    code, output, _ = run("benchmark", float_ir, int8_ir, *arguments)
    assert code == 0
    assert "1.000" in output
    figures = json.loads(written.read_text(encoding="utf-8"))
    assert figures["int8"]["rounds"] == 2


def test_benchmark_with_benchmark_app(run, int8_ir: Path) -> None:
    code, output, _ = run("benchmark", int8_ir, "--benchmark-app", "--app-seconds", 1)
    assert code == 0
    assert "FPS" in output


def test_inspect(run, float_ir: Path, int8_ir: Path) -> None:
    code, output, _ = run("inspect", float_ir, int8_ir)
    assert code == 0
    assert "0/3" in output
    assert "3/3" in output
    assert "i8" in output


def test_compare_then_report(run, float_ir: Path, int8_ir: Path, data: Path, tmp_path: Path) -> None:
    written = tmp_path / "comparison.json"
    arguments = ("--data", data, "--rounds", 1, "--seconds", 0.005, "--json", written)
    code, output, _ = run("compare", float_ir, int8_ir, *arguments)
    assert code == 0
    assert "90.5 %" in output
    folder = tmp_path / "mobilenet_v2"
    folder.mkdir()
    (folder / "result.json").write_text('{"layers": [{"name": "conv", "bits": 4}]}', encoding="utf-8")
    page = tmp_path / "page.html"
    code, output, _ = run("report", folder, "--comparison", written, "-o", page, "--title", "Two models")
    assert code == 0
    assert "page.html" in output
    text = page.read_text(encoding="utf-8")
    for shown in ("Two models", "mobilenet_v2", "90.5 %", "3 of 3"):
        assert shown in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("accuracy", "{folder}/no.xml", "--data", "{data}"), "no.xml: no such file"),
        (("accuracy", "{model}"), "--data is missing"),
        (("accuracy", "{model}", "--data", "{folder}/no.npz"), "no.npz: no such file"),
        (("accuracy", "{model}", "--data", "{data}", "--metric", "speed"), "metric: found 'speed'"),
        (("accuracy", "{model}", "--data", "{data}", "--json", "{folder}/no/file.json"), "cannot be written"),
        (("benchmark", "{model}", "--threads", "0"), "threads: found 0"),
        (("benchmark", "{model}", "{model}"), "named twice"),
        (("compare", "a={model}", "a={model}"), "two models are named 'a'"),
        (("report",), "nothing to report"),
        (("report", "{empty}"), "nothing to report, it has neither"),
        (("report", "--comparison", "{comparison}", "-o", "{model}/report.html"), "report.html: cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    run, float_ir: Path, data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    comparison = tmp_path / "comparison.json"
    compare_models({"model": float_ir}, latency=False).save(comparison)
    (tmp_path / "empty").mkdir()
    places = {
        "empty": tmp_path / "empty",
        "model": float_ir,
        "data": data,
        "folder": tmp_path,
        "comparison": comparison,
    }
    code, _, error = run(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_wrong_usage_is_code_2(run) -> None:
    code, _, error = run("benchmark", "--no-such-option")
    assert code == 2
    assert "Traceback" not in error


def test_models_are_named_after_what_tells_them_apart() -> None:
    assert parse_models(["a/x.xml", "b/x.xml"]) == {"a/x": Path("a/x.xml"), "b/x": Path("b/x.xml")}
    assert parse_models(["a/x.xml", "b/y.v2.xml"]) == {"x": Path("a/x.xml"), "y.v2": Path("b/y.v2.xml")}
    assert list(parse_models(["n=a/x.xml", "b/x.xml"])) == ["n", "x"]
    assert list(parse_models(["b/x.xml", "n=a/x.xml"])) == ["x", "n"]
    with pytest.raises(EvaluationError, match="two models are named 'x'"):
        parse_models(["x=a/y.xml", "b/x.xml"])
