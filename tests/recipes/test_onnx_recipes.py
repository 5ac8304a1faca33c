"""Recipes for ONNX files of users: the structure, with small networks of the same outputs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nncf_mcq.config.catalog import find_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from tests.recipes.yolo_data import write_data
from tests.starter.test_outputs import SIZE, Detector

QUICK = {
    "compression.initializer.range": "max",
    "compression.initializer.num_init_samples": 8,
    "compression.correction": {"rounding": "nearest", "sequential": False},
    "compression.activations.range": "mse",
    "runtime.threads": 1,
}


class Recognizer(torch.nn.Module):
    """Features of a line, of which each column is a step, and a softmax over the characters."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3, stride=2, padding=1),
        )
        self.head = torch.nn.Linear(16, characters)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        steps = self.features(lines).relu().mean(2).transpose(1, 2)
        result: torch.Tensor = (4 * self.head(steps)).softmax(dim=2)
        return result


def export(module: torch.nn.Module, shape: tuple[int, ...], file: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.zeros(shape),), str(file), dynamo=False)
    return file


def written(job: Job, folder: Path) -> dict[str, Any]:
    job.run().save(folder)
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert found["verified"] is True
    return found


def detector_job(tmp_path: Path, **more: object) -> Job:
    pytest.importorskip("pycocotools")
    write_data(tmp_path / "data", 12)
    shape = (1, 3, *SIZE)
    overrides: Mapping[str, object] = {
        **QUICK,
        "model": str(export(Detector(3), shape, tmp_path / "m.onnx")),
        "dataset.root": str(tmp_path / "data"),
        "dataset.split.calibration": 8,
        "input_info.sample_size": list(shape),
        "dataset.preprocessing.size": list(SIZE),
    }
    return Job.read(find_config("yolov8n"), {**overrides, **more})


def test_a_detector_with_the_head_of_yolov8(tmp_path: Path) -> None:
    found = written(detector_job(tmp_path), tmp_path / "out")
    assert {"map50", "map", "box_map50"} <= found["metrics"]["quantized"].keys()
    assert found["quality"]["outputs"][0]["description"] == "boxes with 3 classes, 32 boxes (as YOLOv8, YOLO11)"
    # All but the convolution of distributions is quantized, and runs so.
    (ignored,) = [item for item in found["float_weights"] if item["reason"] == "it is in ignored_scopes"]
    assert "dfl" in ignored["name"]
    assert {layer["runtime_precision"] for layer in found["layers"]} <= {"i8", "u8"}
    assert sum(layer["bits"] * layer["weights"] for layer in found["layers"]) <= 4 * sum(
        layer["weights"] for layer in found["layers"]
    )


def test_another_name_of_that_convolution_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ignored_scopes: found .*, allowed: names in the model") as caught:
        detector_job(tmp_path, **{"compression.ignored_scopes": ["{re}.*distances_to_means.*"]}).run()
    assert "\n" not in str(caught.value)


def test_text_recognition(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    random = np.random.default_rng(0)
    for index in range(20):
        pixels = random.integers(0, 255, (24, 90 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "lines" / f"{index}.png")
    shape = (1, 3, 16, 64)
    job = Job.read(
        find_config("ppocr_rec"),
        {
            **QUICK,
            "model": str(export(Recognizer(11), shape, tmp_path / "m.onnx")),
            "dataset.root": str(tmp_path / "lines"),
            "dataset.split.calibration": 8,
            "input_info.sample_size": list(shape),
            "dataset.preprocessing.letterbox": list(shape[2:]),
        },
    )
    found = written(job, tmp_path / "out")
    (output,) = found["quality"]["outputs"]
    assert output["kind"] == "sequence"
    assert 0 <= output["metrics"]["text_agreement"] <= 1
    assert 0.5 < output["metrics"]["step_agreement"] <= 1
