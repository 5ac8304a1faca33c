"""What a model's outputs tell of it, in a first configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image

from nncf_mcq.job import Job
from nncf_mcq.starter import make_initial_config

SIZE = (32, 64)
CLASSES = 3
BINS = 16


class Detector(torch.nn.Module):
    """A head as YOLOv8's: distances as distributions, their means by a convolution, and the sigmoid of the classes."""

    def __init__(self, channels: int, *, channels_last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.channels_last = channels_last
        self.body = torch.nn.Conv2d(channels, 8, 8, stride=8)
        self.distances = torch.nn.Conv2d(8, 4 * BINS, 1)
        self.classes = torch.nn.Conv2d(8, CLASSES, 1)
        self.means = torch.nn.Conv2d(BINS, 1, 1, bias=False)
        self.means.weight.data = torch.arange(float(BINS)).reshape(1, BINS, 1, 1)
        rows, columns = torch.meshgrid(torch.arange(SIZE[0] // 8), torch.arange(SIZE[1] // 8), indexing="ij")
        self.register_buffer("places", torch.stack([columns, rows]).reshape(1, 2, -1) + 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.channels_last:
            images = images.permute(0, 3, 1, 2)
        features = torch.relu(self.body(images))
        distributions = self.distances(features).reshape(1, 4, BINS, -1).transpose(1, 2).softmax(dim=1)
        near, far = self.means(distributions)[:, 0].chunk(2, dim=1)
        low, high = self.places - near, self.places + far
        boxes = 8 * torch.cat([(low + high) / 2, high - low], dim=1)
        return torch.cat([boxes, self.classes(features).flatten(2).sigmoid()], dim=1)


def write_images(folder: Path, count: int = 6, *, labels: bool = False) -> None:
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        if labels:
            (folder / "labels").mkdir(exist_ok=True)
            (folder / "labels" / f"{index}.txt").write_text("1 0.5 0.5 0.2 0.3\n")


def configuration(module: torch.nn.Module, shape: Sequence[int], folder: Path) -> tuple[dict[str, Any], str]:
    """The first configuration of a module, saved as c.json, and what is said of it."""
    model = ov.convert_model(module.eval(), example_input=torch.rand(*shape), input=[list(shape)])
    ov.save_model(model, folder / "m.xml", compress_to_fp16=False)
    found = make_initial_config(str(folder / "m.xml"), folder / "data", folder / "c.json")
    (folder / "c.json").write_text(found.text)
    return json.loads(found.text), "\n".join(found.notes)


@pytest.mark.parametrize(("channels", "channels_last"), [(3, False), (1, False), (4, False), (3, True)])
def test_a_detector_gets_a_letterbox_and_keeps_its_distributions(
    channels: int, channels_last: bool, tmp_path: Path
) -> None:
    write_images(tmp_path / "data")
    shape = (1, *SIZE, channels) if channels_last else (1, channels, *SIZE)
    config, notes = configuration(Detector(channels, channels_last=channels_last), shape, tmp_path)
    preprocessing = config["dataset"]["preprocessing"]
    assert (preprocessing["letterbox"], preprocessing["scale"]) == (list(SIZE), "0-1")
    assert preprocessing["std"] == [1.0] * channels
    assert "3 classes, 32 boxes (as YOLOv8, YOLO11)" in notes
    (ignored,) = config["compression"]["ignored_scopes"]
    assert f"ignored_scopes: {ignored}, which makes distances of distributions" in notes
    assert Job.read(tmp_path / "c.json").load_dataset().calibration[0][0].shape == shape[1:]


def test_boxes_in_yolos_layout_are_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "data", labels=True)
    config, notes = configuration(Detector(3), (1, 3, *SIZE), tmp_path)
    assert (config["dataset"]["type"], config["metric"]) == ("coco", ["map50", "map"])
    assert config["dataset"]["preprocessing"]["size"] == list(SIZE)
    assert "labels: boxes of 6 images" in notes
    job = Job.read(tmp_path / "c.json")
    inputs = job.inputs()
    image, objects = inputs.splits.report[0]
    assert (image.shape, objects.classes.tolist()) == ((3, *SIZE), [1])
    assert 0 <= inputs.report(inputs.model)["map50"] <= 1


def test_other_outputs_are_said(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    config, notes = configuration(torch.nn.Conv2d(3, 5, 1), (1, 3, *SIZE), tmp_path)
    assert "classes of each pixel, a segmentation" in notes
    assert "ignored_scopes" not in config["compression"]
    assert config["dataset"]["preprocessing"]["resize"] == list(SIZE)

    head = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8, stride=8), torch.nn.Flatten())
    _, notes = configuration(head, (1, 3, *SIZE), tmp_path)
    assert '; if it is none: "outputs": {' in notes
