"""Files in the form of NNCF 2's examples, mixed int4 and int8, through `create_compressed_model`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from torch.utils.data import DataLoader, TensorDataset

import nncf_mcq.nncf2  # noqa: F401
from nncf_mcq.model.inference import compile_model
from nncf_mcq.nncf2 import finish_training
from nncf_mcq.nncf2.settings import read_settings
from tests.nncf2_examples import MODES, SIZES, example, network, weight_scopes

NOTICES = {
    "autoq": "precision autoq: rl with the budget weight_size.ratio 0.15",
    "hawq": "precision hawq: ilp with measured sensitivities and the budget bops.ratio 1 / 1.5",
    "manual": "precision manual: the ",
}
ACTIVATIONS = {
    "mobilenet_v2": ((4, "MobileNetV2/Sequential[features]/InvertedResidual[3]/__add___0|OUTPUT"),),
    "resnet50": ((4, "ResNet/Sequential[layer1]/Bottleneck[0]/ReLU[relu]/relu__1|OUTPUT"),),
}
IMAGES = 8


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SIZES)
def test_the_schema_takes_a_file_of_an_example(name: str, mode: str) -> None:
    config = NNCFConfig.from_dict(example(name, mode))
    settings = read_settings(config, should_init=False)
    assert settings is not None
    assert any(NOTICES[mode] in notice for notice in settings.translation.notices)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_a_file_of_an_example_runs(name: str, mode: str, log: list[str], tmp_path: Path) -> None:
    file, size = tmp_path / "config.json", SIZES[name]
    values = example(name, mode, ACTIVATIONS[name] if mode == "manual" else ())
    values["compression"]["initializer"].setdefault("range", {"num_init_samples": IMAGES})
    values["compression"]["initializer"].setdefault("batchnorm_adaptation", {"num_bn_adaptation_samples": 0})
    # Without comments, which the scripts of the examples read over, and NNCF 2.19 does not.
    file.write_text(json.dumps(values))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((IMAGES, 3, size, size), generator=generator)
    loader = DataLoader(TensorDataset(images, torch.zeros(IMAGES, dtype=torch.long)), batch_size=2)
    config = register_default_init_args(NNCFConfig.from_json(str(file)), loader)
    controller, model = create_compressed_model(network(name), config, dump_graphs=False)
    bits = [info.quantizer_module_ref.num_bits for info in controller.weight_quantizers.values()]
    assert len(bits) == len(list(weight_scopes(network(name))))
    assert set(bits) <= ({2, 4, 8} if mode == "autoq" else {4, 8})
    assert len(set(bits)) > 1
    assert any(NOTICES[mode] in message for message in log)
    if mode == "manual":
        assert bits.count(8) == len(range(0, len(bits) - 1, 3))
        low = [quantizer.num_bits for quantizer in _activations(controller) if quantizer.num_bits < 8]
        assert low == [4]
    result = finish_training(controller)
    # Branches come in another order in OpenVINO: each layer is known by the number of its weights.
    expected_layers = [
        (info.quantized_module.weight.numel(), info.quantizer_module_ref.num_bits)
        for info in controller.weight_quantizers.values()
    ]
    assert sorted((layer.weights, layer.bits) for layer in result.layers) == sorted(expected_layers)
    result.save(tmp_path / "out")
    assert result.verification is not None and result.verification.passed
    compiled = compile_model(result.model, 1)
    with torch.no_grad():
        # Weights that nobody trained make much of a value that is rounded to the next level: so does a last digit.
        expected, moved = (model.eval()(images * factor).numpy() for factor in (1, 1 + 1e-6))
    found = np.concatenate([compiled(image[None])[0] for image in images.numpy()])
    assert _distance(found, expected) < max(0.01, 3 * _distance(moved, expected))


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """One less the correlation."""
    return float(1 - np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _activations(controller: Any) -> list[Any]:
    return [info.quantizer_module_ref for info in controller.non_weight_quantizers.values()]
