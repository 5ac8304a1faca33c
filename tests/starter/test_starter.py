"""A first configuration: what is found, what is assumed and said, and that it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset
from PIL import Image

from nncf_mcq import ConfigError, QuantizationError
from nncf_mcq.cli import main
from nncf_mcq.job import Job
from nncf_mcq.starter import make_initial_config
from nncf_mcq.starter.configuration import _calibration_images
from nncf_mcq.starter.document import initial_config
from nncf_mcq.starter.images import FoundImages, find_dataset
from tests.models import convolution, make_model, random_constant

SIDE = 16


def write_images(folder: Path, levels: Sequence[float], count: int = 8) -> None:
    """Noise around a grey level; one folder for each level."""
    generator = np.random.default_rng(0)
    for number, level in enumerate(levels):
        (folder / f"class{number}").mkdir(parents=True)
        for index in range(count):
            pixels = 255 * level + generator.normal(0, 8, (SIDE, SIDE, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"class{number}" / f"{index}.png")


def write_model(path: Path, shape: Sequence[int] = (1, 3, SIDE, SIDE), *, dynamic: bool = False) -> Path:
    """Two classes: whether the mean of the inputs, which should be pixels from 0 to 1, is below or above 0.8."""

    def build(data: ov.Node) -> ov.Node:
        kernel = opset.constant(np.full((2, 3, 1, 1), [[[[-1 / 3]]], [[[1 / 3]]]], dtype=np.float32))
        values = convolution(data, kernel, "mean")
        pooled = opset.reduce_mean(values, opset.constant(np.array([2, 3])), keep_dims=False)
        return opset.add(pooled, opset.constant(np.array([[0.8, -0.8]], dtype=np.float32)))

    model = make_model(build, tuple(shape))
    if dynamic:
        model.reshape(ov.PartialShape([-1, 3, -1, -1]))
    ov.save_model(model, path, compress_to_fp16=False)
    return path


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.last = torch.nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(images)).mean((2, 3)))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["nncf-mcq", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_labels_tell_the_preprocessing(tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.7, 0.85))
    starter = make_initial_config(str(write_model(tmp_path / "m.xml")), tmp_path / "images", tmp_path / "c.json")
    config = json.loads(starter.text)
    preprocessing = config["dataset"]["preprocessing"]
    assert preprocessing == {"resize": 18, "crop": SIDE, "scale": "0-1", "mean": [0.0] * 3, "std": [1.0] * 3}
    assert config["dataset"]["type"] == "imagenet"
    assert (config["dataset"]["root"], config["model"], config["metric"]) == ("images", "m.xml", "top1")
    assert "input_info" not in config
    assert any("pixels from 0 to 1, top-1 100 % on 8 images" in note for note in starter.notes), starter.notes
    assert len(starter.text.splitlines()) <= 12


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_that_takes_blue_first(channels_last: bool, tmp_path: Path) -> None:
    for name, colour in (("class0", (250, 90, 20)), ("class1", (20, 90, 250))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(8):
            Image.new("RGB", (SIDE, SIDE), colour).save(tmp_path / "images" / name / f"{index}.png")

    def build(data: ov.Node) -> ov.Node:
        first = opset.transpose(data, opset.constant([0, 3, 1, 2])) if channels_last else data
        kernel = opset.constant(np.array([[-1, 0, 1], [1, 0, -1]], np.float32).reshape(2, 3, 1, 1))
        return opset.reduce_mean(convolution(first, kernel, "c"), opset.constant(np.array([2, 3])), keep_dims=False)

    shape = (1, SIDE, SIDE, 3) if channels_last else (1, 3, SIDE, SIDE)
    ov.save_model(make_model(build, shape), tmp_path / "m.xml", compress_to_fp16=False)
    starter = make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json")
    preprocessing = json.loads(starter.text)["dataset"]["preprocessing"]
    assert preprocessing["channel_order"] == "BGR"
    assert any("blue first, less Caffe's mean, top-1 100 % on" in note for note in starter.notes), starter.notes
    (tmp_path / "c.json").write_text(starter.text)
    (image, target) = Job.read(tmp_path / "c.json").load_dataset().calibration[0]
    blue = image[..., 0] if channels_last else image[0]
    assert (blue > 0).all() == (target == 1)


def test_empty_class_folders_and_corrupt_images_are_named(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_images(images, (0.7, 0.85))
    (images / "class1").rename(images / "class0b")
    (images / "class1").mkdir()
    broken = images / "class0" / "0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    (images / "class0b" / "empty.jpg").touch()
    model = write_model(tmp_path / "m.xml")
    config = json.loads((found := make_initial_config(str(model), images, tmp_path / "c.json")).text)
    assert "images that cannot be read, left out: class0/0.png, class0b/empty.jpg" in found.notes
    assert "class folders without images: class1" in found.notes
    assert config["dataset"]["corrupt"] == "skip"
    # Three classes, two outputs.
    assert config["dataset"]["type"] == "image_folder"
    (images / "class1").rmdir()
    (images / "wnids.txt").write_text("class0 class0b")
    config = json.loads((found := make_initial_config(str(model), images, tmp_path / "c.json")).text)
    assert config["dataset"]["type"] == "imagenet"
    assert not any("without images" in note for note in found.notes)


def test_a_model_that_answers_badly_is_said_to(tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.1, 0.12))
    starter = make_initial_config(str(write_model(tmp_path / "m.xml")), tmp_path / "images", tmp_path / "c.json")
    assert any("a guess: with every usual preprocessing" in note for note in starter.notes), starter.notes


@pytest.mark.parametrize(
    ("operations", "scale"),
    [
        ([("subtract", 127.0), ("divide", 128.0)], "0-255"),
        ([("multiply", 1 / 255)], "0-255"),
        ([("subtract", 0.45), ("divide", 0.22)], "0-1"),
    ],
)
def test_a_graph_that_normalizes_tells_the_preprocessing(
    operations: list[tuple[str, float]], scale: str, tmp_path: Path
) -> None:
    def build(data: ov.Node) -> ov.Node:
        for name, value in operations:
            data = getattr(opset, name)(data, opset.constant(np.full((1, 3, 1, 1), value, dtype=np.float32)))
        return convolution(data, random_constant(4, 3, 3, 3), "first")

    write_images(tmp_path / "images", (0.5,))
    ov.save_model(make_model(build, (1, 3, SIDE, SIDE)), tmp_path / "m.xml", compress_to_fp16=False)
    starter = make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json")
    dataset = json.loads(starter.text)["dataset"]
    assert dataset["preprocessing"]["scale"] == scale
    assert (dataset["type"], dataset["split"]) == ("image_folder", {"calibration": 4})
    assert any("normalizes its input itself" in note for note in starter.notes)
    assert any("no labels" in note for note in starter.notes)


def test_torchvision_says_how_its_images_are_prepared(tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.5,))
    starter = make_initial_config("torchvision.models:squeezenet1_1", tmp_path / "images", tmp_path / "c.json")
    config = json.loads(starter.text)
    assert config["model"] == "torchvision.models:squeezenet1_1"
    assert config["input_info"] == {"sample_size": [1, 3, 224, 224]}
    assert config["dataset"]["preprocessing"]["resize"] == 256
    assert config["dataset"]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    # It documents the shape, too.
    assert "input shape [1, 3, 224, 224]: a PyTorch model does not say it (--shape to change it)" in starter.notes


def test_a_document_is_checked_before_it_is_handed_out() -> None:
    with pytest.raises(ConfigError, match="metrik"):
        initial_config({"model": "m.xml", "metrik": "top1"}, [])


def test_from_an_onnx_file_to_a_verified_ir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    shapes = {"images": {0: "n", 2: "h", 3: "w"}}
    torch.onnx.export(
        Net(),
        (torch.zeros(1, 3, 32, 32),),
        tmp_path / "net.onnx",
        dynamo=False,
        input_names=["images"],
        dynamic_axes=shapes,
    )
    write_images(tmp_path / "images", (0.2, 0.8))
    monkeypatch.chdir(tmp_path)
    arguments = ["init", "net.onnx", "--data", "images", "-o", "configs/first.json", "--shape", "1,3,32,32"]
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert "nncf-mcq quantize configs/first.json --output quantized" in printed
    file = tmp_path / "configs" / "first.json"
    assert json.loads(file.read_text())["model"] == "../net.onnx"
    # Defaults but for the widths, which a network of two layers does not need.
    result = Job.read(file, {"compression.weights.bits": [3, 4, 8]}).run()
    assert result.save(tmp_path / "quantized").is_file()
    assert "top1" in result.metrics["quantized"]
    assert run(monkeypatch, *arguments) == 2
    assert "--output: found 'configs/first.json', allowed: a file that does not exist yet" in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--force") == 0


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(SIDE, SIDE), (SIDE, 2 * SIDE)])
def test_any_image_input_gets_a_configuration_that_fits(
    channels: int, layout: str, size: tuple[int, int], tmp_path: Path
) -> None:
    write_images(tmp_path / "images", (0.5,))

    def build(data: ov.Node) -> ov.Node:
        if layout == "NHWC":
            data = opset.transpose(data, opset.constant(np.array([0, 3, 1, 2])))
        return convolution(data, random_constant(4, channels, 3, 3), "first")

    shape = (1, channels, *size) if layout == "NCHW" else (1, *size, channels)
    ov.save_model(make_model(build, shape), tmp_path / "m.xml", compress_to_fp16=False)
    starter = make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json")
    preprocessing = json.loads(starter.text)["dataset"]["preprocessing"]
    assert preprocessing.get("layout", "NCHW") == layout
    assert len(preprocessing["mean"]) == channels
    assert ("letterbox" in "".join(starter.notes)) == (size[0] != size[1])
    (tmp_path / "c.json").write_text(starter.text)
    image, _ = Job.read(tmp_path / "c.json").load_dataset().calibration[0]
    assert image.shape == shape[1:]


def test_a_model_of_whole_numbers_gets_raw_pixels(tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.5,))
    data = opset.parameter([1, SIDE, SIDE, 3], ov.Type.u8, name="image")
    values = opset.transpose(opset.convert(data, ov.Type.f32), opset.constant(np.array([0, 3, 1, 2])))
    last = convolution(values, random_constant(4, 3, 3, 3), "first")
    ov.save_model(ov.Model([opset.result(last)], [data], "raw"), tmp_path / "m.xml", compress_to_fp16=False)
    starter = make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json")
    preprocessing = json.loads(starter.text)["dataset"]["preprocessing"]
    assert (preprocessing["scale"], preprocessing["std"], preprocessing["layout"]) == ("0-255", [1.0] * 3, "NHWC")


def test_why_there_are_no_labels_is_said(tmp_path: Path) -> None:
    write_images(tmp_path / "classes", (0.5, 0.6))
    found = find_dataset(tmp_path / "classes", None)
    assert found.notes[0].startswith("no labels (2 class folders, but the model is no classifier): 16 images")
    write_images(tmp_path / "boxes", (0.5,))
    (tmp_path / "boxes" / "labels").mkdir()
    found = find_dataset(tmp_path / "boxes", 2)
    assert found.kind == "image_folder"
    assert found.notes[0].startswith("no labels (no class folders): 8 images")
    assert found.notes[1:] == ("folders without images: labels",)


def test_a_missing_folder_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--data: found .*, allowed: an existing folder of images"):
        make_initial_config(str(tmp_path / "missing.onnx"), tmp_path / "missing", tmp_path / "c.json")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            None,
            r"MODEL: found 'no outputs for the usual input \[1, 3, 224, 224\]', allowed: --shape .* that fits",
        ),
        ([1, 3, 64, 64], r"--shape: found \[1, 3, 64, 64\], allowed: a shape that fits"),
    ],
)
def test_a_shape_that_an_open_model_does_not_take(shape: list[int] | None, message: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.5,))

    def build(data: ov.Node) -> ov.Node:
        rows = opset.reshape(convolution(data, random_constant(4, 3, 1, 1), "first"), np.array([1, 4, 4, 8]), False)
        return opset.reduce_mean(rows, np.array([2]), keep_dims=False)

    model = make_model(build, (1, 3, 4, 8))
    model.reshape(ov.PartialShape([-1, 3, -1, -1]))
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    with pytest.raises(ConfigError, match=message + r" \[1, 3, \?, \?\]; many networks"):
        make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json", shape=shape)


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((1, 5, SIDE, SIDE), {}, "images of 1, 3 or 4 channels"),
        ((1, 3, SIDE), {}, "an input of shape"),
        ((1, 3, SIDE, SIDE), {"shape": [1, 1, SIDE, SIDE]}, "--shape: found"),
    ],
)
def test_inputs_that_no_data_set_fits_are_named(
    shape: tuple[int, ...], arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_images(tmp_path / "images", (0.5,))

    def build(data: ov.Node) -> ov.Node:
        if len(shape) == 3:
            return opset.matmul(data, random_constant(SIDE, 4), False, False)
        return convolution(data, random_constant(4, shape[1], 1, 1), "first")

    ov.save_model(make_model(build, shape), tmp_path / "m.xml", compress_to_fp16=False)
    with pytest.raises(ConfigError, match=message):
        make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json", **arguments)


def test_a_model_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.5,))

    def build(data: ov.Node) -> ov.Node:
        bounds = [opset.constant(np.float32(value)) for value in (-1, 1, -1, 1)]
        return convolution(opset.fake_quantize(data, *bounds, 256, name="q"), random_constant(4, 3, 1, 1), "first")

    ov.save_model(make_model(build, (1, 3, SIDE, SIDE)), tmp_path / "m.xml", compress_to_fp16=False)
    with pytest.raises(QuantizationError, match=r"^q: the model is quantized already"):
        make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json")


def test_open_sides_of_an_input_with_channels_last_are_filled_in(tmp_path: Path) -> None:
    write_images(tmp_path / "images", (0.5,))

    def build(data: ov.Node) -> ov.Node:
        values = opset.transpose(data, opset.constant(np.array([0, 3, 1, 2])))
        return convolution(values, random_constant(4, 3, 3, 3), "first")

    model = make_model(build, (1, SIDE, SIDE, 3))
    model.reshape(ov.PartialShape([-1, -1, -1, 3]))
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    starter = make_initial_config(str(tmp_path / "m.xml"), tmp_path / "images", tmp_path / "c.json")
    config = json.loads(starter.text)
    assert config["input_info"] == {"sample_size": [1, 224, 224, 3]}
    assert (
        "input shape [1, 224, 224, 3], a guess: the model leaves [1, ?, ?, 3] open (--shape to change it)"
        in starter.notes
    )
    assert config["dataset"]["preprocessing"]["layout"] == "NHWC"


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="allowed: a folder with images in it or below it"):
        make_initial_config(str(write_model(tmp_path / "m.xml")), tmp_path / "empty", tmp_path / "c.json")


@pytest.mark.parametrize(
    ("count", "is_apart", "expected"), [(100, False, 50), (300, False, 150), (300, True, 300), (5000, False, 512)]
)
def test_half_of_the_images_serve_calibration(count: int, is_apart: bool, expected: int) -> None:
    assert _calibration_images(FoundImages("image_folder", count, report_is_apart=is_apart)) == expected
