"""Outputs on CPUs without VNNI, which oneDNN can be told to be on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.api import quantize
from tests.models import as_dataset, convolution, make_model, random_images

SHAPE = (1, 32, 8, 8)

CODE = """
import sys
import numpy as np
import openvino as ov
compiled = ov.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
np.save(sys.argv[3], np.stack([compiled(image[None])[0] for image in np.load(sys.argv[2])]))
"""


def outputs(model: Path, images: Path, isa: str) -> NDArray[np.float32]:
    file = model.parent / f"{isa}.npy"
    command = [sys.executable, "-c", CODE, str(model), str(images), str(file)]
    subprocess.run(command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa}, check=True)
    return np.load(file)


def saved(directory: Path, isa: str) -> Path:
    """A convolution at 8 bits whose weights are all equal: each of them is the largest level."""
    weights = opset.constant(np.full((8, 32, 1, 1), 0.5, np.float32))
    model = make_model(lambda data: convolution(data, weights, "layer"), SHAPE)
    images = np.abs(random_images(16, SHAPE)).clip(0.5)
    config = {
        "compression": {
            "weights": {"isa": isa},
            "correction": {"sequential": False},
            "initializer": {"precision": {"type": "uniform", "bits": 8}, "num_init_samples": 16},
        }
    }
    quantize(model, as_dataset(images), config).save(directory)
    np.save(directory / "images.npy", images)
    return directory / "model.xml"


@pytest.mark.parametrize("isa", ["any", "vnni"])
def test_outputs_without_vnni_are_those_with_it(isa: str, tmp_path: Path) -> None:
    model = saved(tmp_path, isa)
    images = tmp_path / "images.npy"
    with_all, without = (outputs(model, images, limit) for limit in ("ALL", "AVX2"))
    if isa == "any":
        np.testing.assert_array_equal(with_all, without)
    elif np.array_equal(with_all, without):
        pytest.skip("this CPU has no VNNI, or oneDNN does not honour ONEDNN_MAX_CPU_ISA here")
    else:
        # What the setting is for: the sums saturate.
        assert np.abs(with_all - without).max() > 0.01 * np.abs(with_all).max()
