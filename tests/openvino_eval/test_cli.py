from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import typer

from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job
from nncf_mcq.model.inference import has_bf16
from openvino_eval.cli import main
from openvino_eval.cli.arguments import parse_models
from openvino_eval.compare import MODELS_FILE, compare_models
from openvino_eval.errors import EvaluationError
from openvino_eval.samples import ArraySamples

RunCommand = Callable[..., tuple[int, str, str]]
"""From arguments to exit code, stdout and stderr."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCommand:
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


def test_accuracy(run: RunCommand, float_ir: Path, int8_ir: Path, data: Path, tmp_path: Path) -> None:
    written = tmp_path / "scores.json"
    arguments = ("--data", data, "--json", written, "--reference", f"f={float_ir}")
    code, output, _ = run("accuracy", f"small={int8_ir}", *arguments)
    assert code == 0
    assert "21 samples" in output
    assert "from f;" in output
    result = json.loads(written.read_text(encoding="utf-8"))
    rows = result["models"]
    precisions = ("", " (bf16)") if has_bf16() else ("",)
    assert list(rows) == [f"{name}{precision}" for name in ("f", "small") for precision in precisions]
    assert result["reference"] == "f"
    assert rows["f"]["top1"] == pytest.approx(19 / 21)
    assert rows["f"]["agreement"] == 1.0
    assert rows["small"]["kl"] > 0.0
    assert f"{rows['small']['kl']:.4f}" in output


def test_accuracy_on_the_images_of_a_configuration(run: RunCommand, tmp_path: Path) -> None:
    """The recipe's own float model is what its file is compared with, on the images that no search saw."""
    job = Job.read(find_config("fashion_mnist"), {"dataset.full_root": None})
    ov.save_model(job.openvino_model(), tmp_path / "float.xml", compress_to_fp16=False)
    written = tmp_path / "scores.json"
    arguments = ["--config", "fashion_mnist", "--set", "dataset.full_root=null", "--precision", "f32"]
    arguments += ["--set", "dataset.split.report=100"]
    code, output, _ = run("accuracy", tmp_path / "float.xml", *arguments, "--json", written)
    assert code == 0
    assert "test images of" in output
    result = json.loads(written.read_text(encoding="utf-8"))
    assert result["samples"] == 100
    assert list(result["models"]) == ["float model", "float"]
    row = result["models"]["float"]
    assert (row["agreement"], row["kl"]) == (1.0, pytest.approx(0.0, abs=1e-6))
    assert row["top1"] > 0.9


def test_benchmark(run: RunCommand, float_ir: Path, int8_ir: Path, tmp_path: Path) -> None:
    written, folder = tmp_path / "latency.json", tmp_path / "reports"
    properties = tmp_path / "device.json"
    properties.write_text('{"CPU": {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}}')
    arguments = ("--mode", "latency", "--rounds", 1, "--seconds", 1, "--threads", 1, "-o", folder, "--json", written)
    more = ("-latency_percentile", 90, "-cdir", tmp_path / "cache", "-load_config", properties)
    code, output, _ = run("benchmark", int8_ir, "--reference", float_ir, "--layers", *arguments, *more)
    assert code == 0
    assert "reference" in output
    assert "int8: 3 of 3 convolutions and matrix products on integers" in output
    assert "conv0" in output
    assert str(folder) in output
    figures = json.loads(written.read_text(encoding="utf-8"))
    assert list(figures["latency"]) == ["float", "int8"]
    assert list(figures["latency"]["int8"]["percentiles"]) == ["90"]
    logs = list(folder.glob("latency/round-01/*int8-percentile-90/log.txt"))
    assert ["90 percentile:" in log.read_text(encoding="utf-8") for log in logs] == [True]
    assert figures["settings"]["properties"] == {"ENABLE_CPU_PINNING": "NO"}
    assert "int8: first start with the cache compiles in " in output
    assert figures["reference"] == "float"
    code, _, error = run("benchmark", int8_ir, "-o", folder)
    assert code == 2
    assert "a new or an empty folder" in error


def test_inspect(run: RunCommand, float_ir: Path, int8_ir: Path, tmp_path: Path) -> None:
    written = tmp_path / "facts.json"
    code, output, _ = run("inspect", float_ir, int8_ir, "--json", written)
    assert code == 0
    assert "0/3" in output
    assert "3/3" in output
    assert "i8" in output
    assert "float: 3 layers 'conv0', 'conv1', " in output
    assert " run in f32: its weights are not quantized" in output
    # Signed where the processor multiplies two signed bytes (AMX).
    assert re.search("int8: 1 conversion: f32 to [iu]8 in front of conv0", output)
    facts = json.loads(written.read_text(encoding="utf-8"))
    assert facts["int8"]["integer_layers"] == 3
    assert [layer["precision"] for layer in facts["float"]["float_layers"]] == ["f32"] * 3
    assert facts["int8"]["conversions"][0]["target"] in ("i8", "u8")


def test_compare_then_report(run: RunCommand, float_ir: Path, int8_ir: Path, data: Path, tmp_path: Path) -> None:
    written = tmp_path / MODELS_FILE
    arguments = ("--data", data, "--rounds", 1, "--seconds", 0.005, "--json", written)
    code, output, _ = run("compare", float_ir, int8_ir, *arguments)
    assert code == 0
    assert "90.5 %" in output
    assert "agreement" in output
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


@pytest.mark.parametrize(("cause", "said"), [(KeyboardInterrupt(), "interrupted\n"), (None, "")])
def test_ctrl_c_is_said_unless_the_command_has_said_more(
    cause: BaseException | None, said: str, run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        try:
            raise typer.Exit(130) from cause
        except typer.Exit as error:
            sys.exit(error.exit_code)

    monkeypatch.setattr("openvino_eval.cli.app", end)
    assert run() == (130, "", said)


def test_the_report_of_one_result_lies_beside_it(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the working folder it would replace that of another model."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text('{"layers": [{"name": "conv", "bits": 4}]}', encoding="utf-8")
    code, output, _ = run("report", "one")
    assert (code, "one/report.html" in output) == (0, True)
    assert not (tmp_path / "report.html").exists()
    for folders in (("one", "two"), (".",)):
        assert run("report", *folders)[0] == 0
        (tmp_path / "report.html").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("accuracy", "{folder}/no.xml", "--data", "{data}"), "no.xml: no such file"),
        (("accuracy", "{model}"), "--data or --config: one of the two"),
        (("accuracy", "{model}", "--data", "{data}", "--set", "a=1"), "--set: needs --config"),
        (("accuracy", "{model}", "--data", "{data}", "--reference", "no.xml"), "--reference: found 'no.xml'"),
        (("accuracy", "{model}", "--config", "no.json"), "no.json"),
        (("accuracy", "{model}", "--data", "{folder}/no.npz"), "no.npz: no such file"),
        (("accuracy", "{model}", "--data", "{data}", "--metric", "speed"), "metric: found 'speed'"),
        (("accuracy", "{model}", "--data", "{data}", "--json", "{model}/file.json"), "cannot be written"),
        (("benchmark", "{model}", "--threads", "0"), "threads: found 0"),
        (("benchmark", "{model}", "{model}"), "named twice"),
        (("compare", "a={model}", "a={model}"), "two models are named 'a'"),
        (("compare", "{model}", "--metric", "top1"), "--metric: needs --data"),
        (("report",), "nothing to report"),
        (("report", "{empty}"), "nothing to report, it has neither"),
        (("report", "--comparison", "{comparison}", "-o", "{model}/report.html"), "report.html: cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    run: RunCommand, float_ir: Path, data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    comparison = tmp_path / MODELS_FILE
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


def test_wrong_usage_is_code_2(run: RunCommand) -> None:
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
