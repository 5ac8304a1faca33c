"""Files in the form of NNCF 2's examples through the command line: ImageNet classification, mixed int4 and int8."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import nncf2_examples
from tests.nncf2_examples import MODES, SIZES, example, example_text, network, weight_scopes

ROOT = Path(__file__).resolve().parents[2]

ACTIVATIONS = {
    "mobilenet_v2": (
        (8, "/nncf_model_input_0|OUTPUT"),
        (7, "MobileNetV2/Sequential[features]/Conv2dNormActivation[0]/ReLU6[2]/hardtanh_0|OUTPUT"),
        (
            6,
            "MobileNetV2/Sequential[features]/InvertedResidual[3]/Sequential[conv]/NNCFBatchNorm2d[3]/batch_norm_0|OUTPUT",
        ),
        (5, "MobileNetV2/Sequential[features]/InvertedResidual[3]/__add___0|OUTPUT"),
    ),
    "resnet50": (
        (8, "/nncf_model_input_0|OUTPUT"),
        (7, "ResNet/Sequential[layer1]/Bottleneck[0]/ReLU[relu]/relu__1|OUTPUT"),
        (6, "ResNet/Sequential[layer1]/Bottleneck[0]/Sequential[downsample]/NNCFBatchNorm2d[1]/batch_norm_0|OUTPUT"),
        (5, "ResNet/AdaptiveAvgPool2d[avgpool]/adaptive_avg_pool2d_0|OUTPUT"),
    ),
    "squeezenet1_1": ((5, "SqueezeNet/Sequential[features]/Fire[3]/ReLU[squeeze_activation]/relu__0|OUTPUT"),),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(32):
        pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((130, 130)).save(folder / f"{index}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SIZES)
def test_a_file_of_an_example_runs(name: str, mode: str, images: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / f"{name}_imagenet_mixed_int_{mode}.json", tmp_path / "out"
    activations = ACTIVATIONS.get(name, ()) if mode == "manual" else ()
    file.write_text(example_text(example(name, mode, activations)))
    changes = {
        # Random weights and other images: these are no part of the repository.
        "model": f"{nncf2_examples.__file__}:network",
        "model_arguments": json.dumps({"name": name}),
        "pretrained": "false",
        "dataset.type": "image_folder",
        "dataset.root": str(images),
        "dataset.split": json.dumps({"calibration": 12, "search": 12, "report": 8}),
        "compression.initializer.num_init_samples": "8",
        "runtime.threads": "1",
    }
    sets = [item for path, value in changes.items() for item in ("--set", f"{path}={value}")]
    command = [
        sys.executable,
        "-m",
        "nncf_mcq.cli",
        "quantize",
        str(file),
        "--output",
        str(folder),
        "--baseline",
        "none",
        *sets,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"NNCF 2: precision {mode}: " in done.stderr
    assert "NNCF 2: no_strip_on_export: not used" in done.stderr
    assert "not quantized here" not in done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["verified"]
    policy = json.loads((folder / "policy.json").read_text())
    bits = list(policy["weight_bits"].values())
    scopes = list(weight_scopes(network(name)))
    assert len(bits) == len(scopes)
    assert set(bits) <= ({2, 4, 8} if mode == "autoq" else {4, 8})
    assert len(set(bits)) > 1
    if mode == "manual":
        # Every third of the modules has 8 bits, and the last one, which the file does not name, those of its section.
        assert bits.count(8) == len(range(0, len(bits) - 1, 3))
        found = sorted(value for value in policy["activation_bits"].values() if value < 8)
        assert found == sorted(value for value, _ in activations if value < 8)
