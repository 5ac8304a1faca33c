"""Small real models: a float convolution network, the same in int8, and samples that they answer well on."""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest

from openvino_eval.samples import ArraySamples
from tests.openvino_eval.models import CLASSES, small_network


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """float32 (21, 3, 12, 12): a number that no batch size used in the tests divides."""
    return np.random.default_rng(1).standard_normal((21, 3, 12, 12)).astype(np.float32) * 2


@pytest.fixture(scope="session")
def float_ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "float.xml"
    ov.save_model(small_network(), path, compress_to_fp16=False)
    return path


@pytest.fixture(scope="session")
def int8_ir(float_ir: Path, images: np.ndarray) -> Path:
    path = float_ir.with_name("int8.xml")
    dataset = nncf.Dataset([image[None] for image in images])
    model = nncf.quantize(ov.Core().read_model(float_ir), dataset, subset_size=len(images))
    ov.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.fixture(scope="session")
def expected_outputs(float_ir: Path, images: np.ndarray) -> np.ndarray:
    """What the float model answers, image by image, without any code under test."""
    compiled = ov.Core().compile_model(float_ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([np.array(compiled(image[None])[0]) for image in images])


@pytest.fixture(scope="session")
def samples(images: np.ndarray, expected_outputs: np.ndarray) -> ArraySamples:
    """The images; targets are the float model's answers except for the first two, which are wrong."""
    targets = expected_outputs.argmax(axis=1)
    targets[:2] = (targets[:2] + 1) % CLASSES
    return ArraySamples(images, targets)
