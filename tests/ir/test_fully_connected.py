from __future__ import annotations

import functools
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

from nncf_mcq import QuantizationResult, quantize
from nncf_mcq.ir.packing import compressed_weight, is_compressed, unpack_weight
from nncf_mcq.ir.verification import verify
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.nodes import source
from tests.cpu import has_vnni

IMAGES = [np.random.default_rng(seed).standard_normal((1, 4, 16, 16)).astype(np.float32) for seed in range(6)]


class Network(nn.Module):
    """A convolution, and three fully connected layers, the first two of them large enough to stay packed."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(4, 16, 3, 2, 1), nn.ReLU(), nn.AvgPool2d(1))
        self.hidden = nn.Linear(1024, 1024)
        self.middle = nn.Linear(1024, 1024)
        self.classifier = nn.Linear(1024, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = self.hidden(torch.flatten(self.features(image), 1)).relu()
        return self.classifier(self.middle(hidden).relu())


@functools.cache
def quantized(kernels: str, bits: int, activation_bits: int = 8) -> QuantizationResult:
    torch.manual_seed(0)
    config = {
        "input_info": {"sample_size": [1, 4, 16, 16]},
        "compression": {
            "weights": {"fully_connected": kernels},
            "activations": {"bits": activation_bits, "range": "max"},
            "correction": {"rounding": "nearest", "sequential": False},
            "initializer": {"range": "max", "precision": {"type": "uniform", "bits": bits}},
        },
        "runtime": {"threads": 1},
    }
    return quantize(Network().eval(), nncf.Dataset(IMAGES[:4]), config)


def weight_of(model: ov.Model, name: str) -> ov.Node:
    layers = [node for node in model.get_ops() if node.get_type_name() == "MatMul"]
    return source(next(node for node in layers if name in node.get_friendly_name()), 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_what_stays_packed_is_scored_and_shipped(bits: int, tmp_path: Path) -> None:
    result = quantized("packed", bits)
    scored = np.array(compile_model(result.model, 1)(IMAGES[5])[0])
    xml = result.save(tmp_path)
    verified = verify(xml, list(result.policy.weight_bits), [IMAGES[5]], [[scored]], threads=1)
    assert verified.passed
    assert verified.difference == 0
    assert not verified.float_layers
    precisions = {name.split("/")[0]: precision for name, precision in verified.precisions.items()}
    assert precisions["__module.hidden"] == precisions["__module.middle"] == f"u{bits}"
    assert {precisions["__module.features.0"], precisions["__module.classifier"]} <= {"i8", "u8"}

    # By its defaults the plugin quantizes the inputs of such layers: it is what was scored.
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    without = properties | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    default, unquantized = (ov.Core().compile_model(xml, "CPU", item)(IMAGES[5])[0] for item in (properties, without))
    np.testing.assert_array_equal(default, scored)
    # Without VNNI it has no kernels for that.
    assert np.array_equal(unquantized, scored) != has_vnni()


def test_weights_are_those_of_the_int8_form() -> None:
    packed, plain = (quantized(kernels, 4).model for kernels in ("packed", "int8"))
    for name in ("hidden", "middle"):
        weight, expected = weight_of(packed, name), weight_of(plain, name)
        assert is_compressed(weight)
        assert not is_compressed(expected)
        found = [unpack_weight(item) for item in (weight, expected)]
        assert found[0] is not None
        assert found[1] is not None
        assert found[0].bits == 4
        np.testing.assert_array_equal(found[0].values, found[1].values)
    assert not is_compressed(weight_of(packed, "classifier"))


@pytest.mark.parametrize(("bits", "activation_bits"), [(3, 8), (8, 8), (4, 6)])
def test_other_bits_run_in_int8(bits: int, activation_bits: int) -> None:
    assert not is_compressed(weight_of(quantized("packed", bits, activation_bits).model, "hidden"))


def test_zero_points_below_zero_are_refused() -> None:
    with pytest.raises(Exception, match=r"zero point: found -1, allowed in a compressed weight: 0\.\.128"):
        compressed_weight(np.zeros((2, 3), np.uint8), 4, 1.0, -1)
