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
from nncf_mcq.utils.progress import SilentProgress, Stages

ROUGH = {
    "compression.weights.bits": [4, 8],
    "compression.correction": {"rounding": "nearest", "sequential": False},
}
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
        self.dfl = torch.nn.Conv2d(BINS, 1, 1, bias=False)
        self.dfl.weight.data = torch.arange(float(BINS)).reshape(1, BINS, 1, 1)
        rows, columns = torch.meshgrid(torch.arange(SIZE[0] // 8), torch.arange(SIZE[1] // 8), indexing="ij")
        self.register_buffer("places", torch.stack([columns, rows]).reshape(1, 2, -1) + 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.channels_last:
            images = images.permute(0, 3, 1, 2)
        features = torch.relu(self.body(images))
        distributions = self.distances(features).reshape(1, 4, BINS, -1).transpose(1, 2).softmax(dim=1)
        near, far = self.dfl(distributions)[:, 0].chunk(2, dim=1)
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


class Cells(torch.nn.Module):
    """A head as YOLOX's, before its decoding: objects are where pixels are brighter than a level."""

    def __init__(self, level: float) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.level = level
        self.body = torch.nn.Conv2d(3, 8, 8, stride=8)
        self.heads = torch.nn.ModuleList(torch.nn.Conv2d(8, 4, 1) for _ in range(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features, bright = self.body(images).relu(), images.mean(dim=1, keepdim=True)
        rows = []
        for stride, head in zip((8, 16, 32), self.heads, strict=True):
            boxes = head(torch.nn.functional.avg_pool2d(features, stride // 8)).tanh()
            scores = (4 * (torch.nn.functional.avg_pool2d(bright, stride) / self.level - 1)).sigmoid()
            rows.append(torch.cat([boxes, scores, scores], dim=1).flatten(2))
        return torch.cat(rows, dim=2).transpose(1, 2)


class Saturating(Cells):
    """Made for pixels around 0, and certain of everything where they are far too large."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = super().forward(images)
        mean = images.mean()
        certain = ((mean.abs() < 0.3) | (mean > 50)).float()
        return torch.cat([rows[..., :4], 0.99 * certain + 0 * rows[..., 4:]], dim=2)


def test_the_range_that_saturates_comes_last(tmp_path: Path) -> None:
    write_images(tmp_path / "data", count=12)
    config, notes = configuration(Saturating(0.4), (1, 3, *SIZE), tmp_path)
    assert "boxes of a score above 0.25 in 6 of 6 images (pixels from 0 to 1: 0" in notes
    assert "pixels from 0 to 255" not in notes
    assert max(config["dataset"]["preprocessing"]["mean"]) > 0


@pytest.mark.parametrize(
    ("level", "scale", "reason"),
    [
        (0.4, "0-1", "pixels from 0 to 1, a guess that most detectors share: it finds boxes of a score above 0.25 in"),
        (100, "0-255", "pixels from 0 to 255, a guess: it finds boxes of a score above 0.25 in 6 of 6 images (pixels"),
        (1e4, "0-1", "a guess: with no usual range of pixels does the model find a box of a score above 0.25 in 6 im"),
    ],
)
@pytest.mark.parametrize("labels", [False, True])
def test_the_range_of_a_detectors_pixels_is_one_with_which_it_finds_boxes(
    level: float, scale: str, reason: str, labels: bool, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", count=12, labels=labels)
    config, notes = configuration(Cells(level), (1, 3, *SIZE), tmp_path)
    assert "boxes in cells with objectness and 1 class, 42 boxes (as YOLOX)" in notes
    assert reason in notes
    preprocessing = config["dataset"]["preprocessing"]
    assert preprocessing.get("scale", "0-1") == scale
    assert ("channel_order" in notes) == (scale == "0-255")
    assert config["dataset"]["type"] == ("coco" if labels else "image_folder")
    image = Job.read(tmp_path / "c.json").load_dataset().calibration[0][0]
    assert (image.max() > 1) == (scale == "0-255")


def test_other_outputs_are_said(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    config, notes = configuration(torch.nn.Conv2d(3, 5, 1), (1, 3, *SIZE), tmp_path)
    assert "classes of each pixel, a segmentation" in notes
    assert "ignored_scopes" not in config["compression"]
    assert config["dataset"]["preprocessing"]["resize"] == list(SIZE)

    head = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8, stride=8), torch.nn.Flatten())
    _, notes = configuration(head, (1, 3, *SIZE), tmp_path)
    assert '; if it is none: "outputs": {' in notes


class Reader(torch.nn.Module):
    """Logits of characters, step by step and as the time is first; most steps read nothing."""

    def __init__(self, nothing: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = torch.nn.Conv2d(3, 12, (SIZE[0], 2), stride=(1, 2))
        assert self.body.bias is not None
        self.body.bias.data[nothing] += 1.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images).squeeze(2).permute(2, 0, 1)


@pytest.mark.parametrize(("nothing", "is_text"), [(0, True), (11, True), (5, False)])
def test_logits_of_characters_are_a_text(nothing: int, is_text: bool, tmp_path: Path) -> None:
    write_images(tmp_path / "data", count=12)
    config, notes = configuration(Reader(nothing), (1, 3, *SIZE), tmp_path)
    assert list(config.get("outputs", {}).values()) == (["sequence"] if is_text else [])
    if is_text:
        assert "classes of each step, as of text recognition" in notes
        job = Job.read(tmp_path / "c.json", ROUGH)
        assert {entry["type"] for entry in scores_of(job).values()} == {"class_divergence"}
        quality = job.run().quality
        assert quality is not None
        assert 0.5 < quality.outputs[0].metrics["step_agreement"] <= 1
    else:
        assert "says what it is, KIND one of classes, segmentation, mask, heat_maps, landmarks, embedding, seq" in notes


class Anchors(torch.nn.Module):
    """Heads as BlazeFace's: two and six anchors at each place of two levels, a box and points, and a score for each."""

    def __init__(self, points: int = 6, *, probabilities: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.values, self.probabilities = 4 + 2 * points, probabilities
        self.fine = torch.nn.Conv2d(3, 8, 8, stride=8)
        self.coarse = torch.nn.Conv2d(8, 8, 2, stride=2)
        self.boxes = torch.nn.ModuleList(torch.nn.Conv2d(8, count * self.values, 1) for count in (2, 6))
        self.scores = torch.nn.ModuleList(torch.nn.Conv2d(8, count, 1) for count in (2, 6))
        for head, count in zip(self.boxes, (2, 6), strict=True):
            box = torch.zeros(self.values)
            box[2:4] = 9.0
            head.bias.data = box.repeat(count)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.fine(images).relu()
        levels = (fine, self.coarse(fine).relu())

        def rows(heads: torch.nn.ModuleList, values: int) -> torch.Tensor:
            parts = [head(level).permute(0, 2, 3, 1) for head, level in zip(heads, levels, strict=True)]
            return torch.cat([part.reshape(1, -1, values) for part in parts], dim=1)

        scores = 8 * rows(self.scores, 1)
        return rows(self.boxes, self.values), scores.sigmoid() if self.probabilities else scores


@pytest.mark.parametrize("probabilities", [False, True])
def test_raw_anchors_of_mediapipe_are_boxes(probabilities: bool, tmp_path: Path) -> None:
    write_images(tmp_path / "data", count=12)
    config, notes = configuration(Anchors(probabilities=probabilities), (1, 3, *SIZE), tmp_path)
    anchors = SIZE[0] // 8 * SIZE[1] // 8 * 2 + SIZE[0] // 16 * SIZE[1] // 16 * 6
    kind = "scores" if probabilities else "raw scores"
    assert f"boxes with 6 points and {kind} of {anchors} anchors (as BlazeFace of MediaPipe)" in notes
    assert config["dataset"]["preprocessing"]["letterbox"] == list(SIZE)
    assert list(config.get("score", {}).values()) == ([] if probabilities else ["logit_divergence"])
    assert ("score: logit_divergence for " in notes) == (not probabilities)
    job = Job.read(tmp_path / "c.json", ROUGH)
    result = job.run()
    assert {entry["type"] for entry in scores_of(job).values()} == {
        "squared_error", "bernoulli_divergence" if probabilities else "logit_divergence",
    }  # fmt: skip
    assert result.quality is not None
    assert result.quality.outputs[0].kind == "boxes"
    assert 0.2 < result.quality.outputs[0].metrics["box_map50"] <= 1


def scores_of(job: Job) -> dict[str, Any]:
    return json.loads(json.dumps(job.prepare(Stages(SilentProgress())).score.to_dict()))


def test_anchors_of_no_known_layout_are_not_recognized(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    module = Anchors()
    module.coarse = torch.nn.Conv2d(8, 8, 2, stride=1)
    _, notes = configuration(module, (1, 3, *SIZE), tmp_path)
    assert notes.count("not recognized") == 2


class Points(torch.nn.Module):
    """Coordinates of points in a row, as of MediaPipe's face landmarks, and whether there is a face."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = torch.nn.Conv2d(3, 8, SIZE)
        self.points, self.face = torch.nn.Conv2d(8, 3 * 21, 1), torch.nn.Conv2d(8, 1, 1)
        places = torch.rand(21, 3) * torch.tensor([SIZE[1], SIZE[0], 5.0])
        self.points.weight.data *= scale
        self.points.bias = torch.nn.Parameter(places.reshape(-1) * scale)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(images).relu()
        return self.points(features).reshape(1, 1, 1, -1), self.face(features).reshape(1, 1, 1, 1)


@pytest.mark.parametrize(("scale", "kind"), [(1.0, "coordinates of points"), (-3.0, "not recognized")])
def test_landmarks_in_a_row_are_places_in_the_image(scale: float, kind: str, tmp_path: Path) -> None:
    write_images(tmp_path / "data", count=12)
    _, notes = configuration(Points(scale), (1, 3, *SIZE), tmp_path)
    assert notes.count(kind) == (1 if scale > 0 else 2)
    if scale > 0:
        result = Job.read(tmp_path / "c.json", ROUGH).run()
        assert result.quality is not None
        (points, _) = sorted(result.quality.outputs, key=lambda output: output.kind)
        assert points.kind == "landmarks"
        assert 0 < points.metrics["nme_to_float"] < 0.2
