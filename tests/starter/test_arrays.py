"""A first configuration for inputs that are no folder of images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.starter import make_array_config, make_initial_config

SIDE, COUNT = 8, 10
MODULE = """
import torch


class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten())

    def forward(self, left, right):
        codes = [self.encoder(image) for image in (left, right)]
        return tuple(torch.nn.functional.normalize(code) for code in codes)


def create_model():
    return Pair().eval()
"""


def pair_model() -> ov.Model:
    """Two images of different sizes, and the classes of both together."""
    random = np.random.default_rng(0)
    found = []
    for name, side in (("left", SIDE), ("right", SIDE // 2)):
        image = opset.parameter([1, 3, side, side], np.float32, name=name)
        image.output(0).get_tensor().set_names({name})
        weights = opset.constant(random.normal(size=(4, 3, 3, 3)).astype(np.float32))
        features = opset.convolution(image, weights, [1, 1], [0, 0], [0, 0], [1, 1])
        found.append((image, opset.reduce_mean(features, np.array([2, 3]), keep_dims=False)))
    return ov.Model([opset.concat([part for _, part in found], axis=1)], [image for image, _ in found])


def arrays(**sides: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: random.random((COUNT, 3, side, side), dtype=np.float32) for name, side in sides.items()}


def write(folder: Path, samples: dict[str, np.ndarray]) -> None:
    np.savez(folder / "samples.npz", allow_pickle=False, **samples)


@pytest.fixture
def model(tmp_path: Path) -> str:
    ov.save_model(pair_model(), tmp_path / "pair.xml", compress_to_fp16=False)
    return str(tmp_path / "pair.xml")


def test_two_inputs_from_an_archive_to_a_measured_model(model: str, tmp_path: Path) -> None:
    write(tmp_path, arrays(left=SIDE, right=SIDE // 2))
    found = make_array_config(model, tmp_path / "samples.npz", tmp_path / "config.json")
    (tmp_path / "config.json").write_text(found.text)
    config = json.loads(found.text)
    assert config["model"] == "pair.xml"
    assert config["dataset"] == {"type": "arrays", "file": "samples.npz", "split": {"calibration": 5}}
    assert "input_info" not in config
    assert "samples: 10 of left [3, 8, 8], right [3, 4, 4], taken as the model takes them" in found.notes
    assert any(note.startswith("output ") and "classes" in note for note in found.notes)
    precision = {"compression.initializer.precision": {"type": "uniform", "bits": 8}}
    result = Job.read(tmp_path / "config.json", precision).run()
    assert result.metrics["quantized"]["agreement"] > 0.5


def test_a_module_gets_the_shapes_of_the_arrays(tmp_path: Path) -> None:
    (tmp_path / "pair.py").write_text(MODULE)
    write(tmp_path, {"targets": np.arange(COUNT), **arrays(left=SIDE, right=SIDE)})
    reference = f"{tmp_path / 'pair.py'}:create_model"
    found = make_array_config(reference, tmp_path / "samples.npz", tmp_path / "config.json")
    (tmp_path / "config.json").write_text(found.text)
    size = [1, 3, SIDE, SIDE]
    assert json.loads(found.text)["input_info"] == [
        {"keyword": name, "sample_size": size} for name in ("left", "right")
    ]
    assert sum("an embedding" in note for note in found.notes) == 2
    assert any("targets are there" in note for note in found.notes)
    assert len(Job.read(tmp_path / "config.json").openvino_model().inputs) == 2


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (arrays(left=SIDE, other=SIDE // 2), r"those of the inputs left \[1,3,8,8\], right .*right is missing"),
        (arrays(left=SIDE), "item 0 of the data set: found 1 values, allowed: the 2 inputs of the model"),
        (arrays(left=SIDE, right=SIDE), r"found shape \(1, 3, 8, 8\) and .*, allowed: .* and \(batch, 3, 4, 4\)"),
        ({"targets": np.arange(4)}, "an array for each input of the model"),
        ({"left": np.zeros((1, 3, 8, 8), np.float32)}, "'1 sample', allowed: at least 2"),
    ],
    ids=["names", "one is missing", "shapes", "targets alone", "one sample"],
)
def test_arrays_that_do_not_fit_are_told_in_one_line(
    samples: dict[str, np.ndarray], message: str, model: str, tmp_path: Path
) -> None:
    write(tmp_path, samples)
    with pytest.raises(ConfigError, match=f"^--data: .*{message}"):
        make_array_config(model, tmp_path / "samples.npz", tmp_path / "config.json")


def test_images_for_several_inputs_are_refused_with_the_way_out(model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"MODEL: found '2 inputs: left \[1,3,8,8\], .*or --data samples\.npz"):
        make_initial_config(model, tmp_path, tmp_path / "config.json")


def test_an_archive_that_is_not_there_is_told_as_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nncf_mcq.cli", "init", "net.onnx", "--data", "samples.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("error: --data: found 'samples.npz', allowed: an existing .npz file")
