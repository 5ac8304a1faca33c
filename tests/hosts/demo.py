"""The demo network, its images and a search that takes seconds: what the tests of all hosts quantize.

    python tests/hosts/demo.py FOLDER

quantizes it with `nncf_mcq.quantize` in the environment of this interpreter, and saves the result.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import torch

import nncf_mcq
from nncf_mcq.data.fashion_mnist import read_labelled_images

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "fashion_mnist"
MEAN, STANDARD_DEVIATION = 0.2860, 0.3530
CALIBRATION_IMAGES = 64

PRECISION: dict[str, Any] = {
    "type": "rl",
    "budget": {"weight_size": {"average_bits": 3}},
    "evaluations": 40,
    "seed": 0,
}
COMPRESSION: dict[str, Any] = {
    "initializer": {
        "num_init_samples": CALIBRATION_IMAGES,
        "range": {"type": "mixed_clipping"},
        "precision": PRECISION,
    }
}
WEIGHTS: dict[str, Any] = {"coding": "uniform", "isa": "vnni", "equalization": False}
"""The quantizers of NNCF 2 have grids and use all levels of 8 bits, and its network gets no operation more."""


def network() -> torch.nn.Module:
    """The trained float network, in evaluation mode."""
    specification = importlib.util.spec_from_file_location("fashion_mnist_model", RECIPE / "model.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    created: torch.nn.Module = module.create_model()
    created.load_state_dict(torch.load(RECIPE / "checkpoint.pt", weights_only=True))
    return created.eval()


def images(subset: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized images, float32 (N, 1, 28, 28), and labels, int64 (N,), of the recipe's `train` or `t10k`."""
    pixels, labels = read_labelled_images(RECIPE / "data", subset)
    scaled = torch.from_numpy(pixels.copy()).float().div(255).sub(MEAN).div(STANDARD_DEVIATION)
    return scaled.unsqueeze(1), torch.from_numpy(labels.copy()).long()


def calibration_dataset() -> nncf.Dataset:
    """The first training images."""
    return nncf.Dataset([np.asarray(image)[None] for image in images("train")[0][:CALIBRATION_IMAGES]])


def quantize() -> nncf_mcq.QuantizationResult:
    """What every host is compared with."""
    compression = {**COMPRESSION, "weights": WEIGHTS}
    config = {"input_info": {"sample_size": [1, 1, 28, 28]}, "compression": compression}
    return nncf_mcq.quantize(network(), calibration_dataset(), config)


if __name__ == "__main__":
    quantize().save(sys.argv[1])
