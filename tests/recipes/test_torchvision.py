from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from nncf_mcq.config.catalog import find_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from openvino_eval.layers import count_integer_layers, runtime_layers
from tests.data.conftest import write_class_folders

NAMES = {"mobilenet_v2": 53, "resnet18": 21, "resnet50": 54}
"""Recipe -> quantizable layers."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imagenet")
    write_class_folders(root / "train")
    return root


def small(root: Path, checkpoint: Path) -> dict[str, object]:
    return {
        "checkpoint": str(checkpoint),
        "dataset.root": str(root),
        "dataset.split.calibration": 2,
        "dataset.preprocessing.resize": 32,
        "dataset.preprocessing.crop": 32,
        "input_info.sample_size": [1, 3, 32, 32],
        "compression.initializer": {"range": "max", "precision": {"type": "uniform", "bits": 4}},
        "compression.correction": {"rounding": "nearest", "sequential": False},
    }


def save_random_weights(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "checkpoint.pth"
    torch.save(getattr(torchvision.models, name)().state_dict(), path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_takes_the_weights_of_a_checkpoint(name: str, images: Path, tmp_path: Path) -> None:
    job = Job.read(find_config(name), small(images, save_random_weights(name, tmp_path)))
    loaded, stored = job.load_model(), torch.load(tmp_path / "checkpoint.pth", weights_only=True)
    assert isinstance(loaded, torch.nn.Module)
    assert all(torch.equal(value, stored[key]) for key, value in loaded.state_dict().items())
    assert len(find_layers(to_openvino(loaded, job.config.sample_size)).layers) == NAMES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_runs_on_int8_kernels(name: str, images: Path, tmp_path: Path) -> None:
    job = Job.read(find_config(name), small(images, save_random_weights(name, tmp_path)))
    xml = job.run().save(tmp_path / "ir")
    assert count_integer_layers(runtime_layers(xml, threads=1)) == (NAMES[name], NAMES[name])


def test_weights_that_cannot_be_downloaded_say_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A proxy that refuses: fails at once, with or without a network.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ConfigError) as caught:
        Job.read(find_config("resnet18")).load_model()
    message = str(caught.value)
    assert message.startswith("pretrained: found 'IMAGENET1K_V1', allowed: weights that can be downloaded (")
    assert "fetch https://download.pytorch.org/models/resnet18-f37072fd.pth" in message
    assert f"put it into {tmp_path}/hub/checkpoints, or name the file in checkpoint" in message


def test_a_path_on_the_command_line_starts_from_the_current_folder(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = {"dataset.root": "mine", "dataset.split.calibration": 1}
    with pytest.raises(ConfigError) as caught:
        Job.read(find_config("mobilenet_v2"), mine).load_dataset()
    message = str(caught.value)
    assert message.startswith(f"dataset.root: found '{tmp_path}/mine', allowed: an existing folder; there is none at ")
    assert "ImageNet is at https://image-net.org/download-images" in message
    (tmp_path / "mine").symlink_to(images)
    assert len(Job.read(find_config("mobilenet_v2"), mine).load_dataset().calibration) == 1
    # What is not there, but beside the configuration, is still found.
    efficientnet = Job.read(find_config("efficientnet_lite0"), {"model": "model.py:create_model"})
    assert efficientnet.config.model == f"{find_config('efficientnet_lite0').parent}/model.py:create_model"


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ("IMAGENET21K", "pretrained: found 'IMAGENET21K', allowed: true, or one of IMAGENET1K_V1"),
        (7, "pretrained: found 7, allowed: true, false, or the name of weights"),
    ],
)
def test_unknown_weights_are_refused(pretrained: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Job.read(find_config("resnet18"), {"pretrained": pretrained}).load_model()
    assert str(caught.value).startswith(message)
