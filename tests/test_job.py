"""A configuration's job: mistakes that only the model's own outputs show."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nncf_mcq import ConfigError
from nncf_mcq.cli.search import compared, save_result
from nncf_mcq.config import PRECISION_PATH
from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job
from nncf_mcq.metrics.report import Report
from nncf_mcq.summaries.result import result_table
from nncf_mcq.utils.progress import SilentProgress
from tests.commands import write_config

KINDS = ("float", "nncf_int8", "quantized")
SMALL: dict[str, Any] = {
    "dataset.full_root": None,
    "dataset.split": {"calibration": 16, "search": 16, "report": 32},
    "compression.initializer.num_init_samples": 16,
    "compression.initializer.range": "max",
    "compression.correction": {"rounding": "nearest"},
    "compression.weights.bits": [4, 8],
}


class Recorder(SilentProgress):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def start(self, stage: str, total: int) -> None:
        self.stages.append(stage)


@pytest.mark.parametrize(
    ("key", "name", "message", "last_stages"),
    [
        ("metric", "map50", "one for the outputs and labels of this job (an output of shape (1, 10), needed: ", []),
        (
            "score",
            "detection_divergence",
            "one for the outputs of this model (outputs of shape (8, 10) and a reference of shape (8, 10), needed: ",
            ["activation ranges"],
        ),
    ],
)
def test_a_metric_or_score_of_another_kind_of_model_costs_no_search(
    key: str, name: str, message: str, last_stages: list[str]
) -> None:
    recorder = Recorder()
    with pytest.raises(ConfigError) as caught:
        Job.read(find_config("fashion_mnist"), {**SMALL, key: name}).run(recorder)
    assert str(caught.value).startswith(f"{key}: found '{name}', allowed: {message}"), str(caught.value)
    assert recorder.stages[-1:] == last_stages


def test_whatever_becomes_of_nncf_int8_the_result_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rough = {"rounding": "nearest", "sequential": False}
    job = Job.read(write_config(tmp_path, {"type": "ilp"}, correction=rough), {PRECISION_PATH: {"type": "uniform"}})
    inputs = job.inputs()
    result = job.run(inputs=inputs)
    save_result(result, tmp_path)
    saved = (tmp_path / "result.json").read_text()
    broken = dataclasses.replace(inputs, report=Report(list, {}, threads=1))
    assert compared(job, result, broken, tmp_path, quiet=True) is result
    assert "NNCF INT8 is not measured beside the result: the data set is empty" in capsys.readouterr().err
    assert (tmp_path / "result.json").read_text() == saved

    with_int8 = compared(job, result, inputs, tmp_path, quiet=True)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["metrics"]["nncf_int8"] == with_int8.metrics["nncf_int8"]
    assert {name: written[name] for name in ("layers", "quality")} == {
        name: json.loads(saved)[name] for name in ("layers", "quality")
    }
    assert [column.header for column in result_table(with_int8).columns[1:]] == ["float", "NNCF INT8", "quantized", ""]
    # In a terminal of 80 columns remarks take a second line, and no figure is cut.
    shown = io.StringIO()
    Console(file=shown, width=80).print(result_table(with_int8))
    assert "layers on int8 kernels" in shown.getvalue()
    assert "\u2026" not in shown.getvalue()
    (line,) = [line for line in shown.getvalue().splitlines() if "both files" in line]
    total = {kind: sum(written["metrics"][kind][f"{name}_bytes"] for name in ("bin", "xml")) for kind in KINDS}
    assert [float(word.replace(",", "")) for word in re.findall(r"([\d.,]+) kB", line)] == [
        round(total[kind] / 1000, 1) for kind in KINDS
    ]
    ratios = " and ".join(f"{total[kind] / total['quantized']:.1f}" for kind in KINDS[:-1])
    assert ratios in line


def test_images_of_the_section_calibration_are_all_used(tmp_path: Path) -> None:
    path = write_config(tmp_path, {"type": "ilp"})
    images = json.loads(path.read_text())["dataset"]
    unlabelled = {name: value for name, value in images.items() if name != "split"}
    tested = {"calibration": 1, "report": 8}
    everything = Job.read(path, {"dataset.split": tested, "calibration": unlabelled})
    assert everything.config.compression.initializer.num_init_samples >= 40
    splits = everything.load_dataset()
    assert (len(splits.calibration), len(splits.report)) == (40, 8)
    assert splits.search is splits.calibration

    few = Job.read(path, {"dataset.split": tested, "calibration": {**unlabelled, "split": {"calibration": 7}}})
    assert len(few.load_dataset().calibration) == 7
    with pytest.raises(ConfigError, match=r"^dataset\.split\.report: found 'none', allowed: 'rest' or a positive"):
        Job.read(path, {"dataset.split": {"report": "none"}}).load_dataset()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"root": "nowhere"}, "root: found "),
        (
            {"split": {"calibration": 41}},
            "split: found '41 images for calibration and 0 more for search', allowed: at m",
        ),
    ],
)
@pytest.mark.parametrize("section", ["dataset", "calibration"])
def test_a_mistake_is_told_of_the_section_that_it_is_in(
    section: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_config(tmp_path, {"type": "ilp"})
    images = json.loads(path.read_text())["dataset"]
    images["split"] = {"calibration": 1}
    job = Job.read(path, {"dataset": images, "calibration": images, section: {**images, **values}})
    with pytest.raises(ConfigError) as caught:
        job.load_dataset()
    assert str(caught.value).startswith(f"{section}.{message}"), str(caught.value)
