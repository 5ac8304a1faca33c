"""The demo network and its images, for Intel Neural Compressor."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nncf_mcq.data.fashion_mnist import read_labelled_images

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "fashion_mnist"


def fast(**precision: object) -> dict[str, Any]:
    """Parameters of a config with which the demo network is quantized in seconds.

    Args:
        precision: Of the precision initializer, as in the JSON.
    """
    return {
        "weight_bits": [2, 4, 8],
        "num_init_samples": 32,
        "compression": {
            "correction": {"rounding": "nearest", "sequential": False},
            "initializer": {"precision": precision},
        },
    }


FAST = fast()
FISHER = fast(sensitivity="fisher")
"""The same, with sensitivities that take no passes."""


@functools.cache
def _architecture() -> Callable[[], torch.nn.Module]:
    specification = importlib.util.spec_from_file_location("fashion_mnist_model", RECIPE / "model.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    builder: Callable[[], torch.nn.Module] = module.create_model
    return builder


@pytest.fixture
def model() -> torch.nn.Module:
    """The trained demo network."""
    network = _architecture()()
    network.load_state_dict(torch.load(RECIPE / "checkpoint.pt", weights_only=True))
    return network.eval()


@functools.cache
def _images(subset: str) -> tuple[Tensor, Tensor]:
    images, labels = read_labelled_images(RECIPE / "data", subset)
    scaled = (images[:, None].astype(np.float32) / 255 - 0.2860) / 0.3530
    return torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))


@pytest.fixture
def batches() -> tuple[Tensor, ...]:
    """48 images for calibration, (16, 1, 28, 28) each."""
    return _images("train")[0][:48].split(16)


@pytest.fixture
def calibrate(batches: tuple[Tensor, ...]) -> Callable[[torch.nn.Module], None]:
    """A `run_fn`."""

    def run(model: torch.nn.Module) -> None:
        for images in batches:
            model(images)

    return run


@pytest.fixture
def evaluate() -> Callable[[torch.nn.Module], float]:
    """An `eval_fn`: top-1 accuracy on 400 test images."""
    images, labels = (values[:400] for values in _images("t10k"))

    def accuracy(model: torch.nn.Module) -> float:
        with torch.no_grad():
            return float((model(images).argmax(dim=1) == labels).float().mean())

    return accuracy


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scripts write beside them."""
    monkeypatch.chdir(tmp_path)
    yield
