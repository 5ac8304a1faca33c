"""Equalization in the whole pipeline."""

from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
import torch

import nncf_mcq
from nncf_mcq.model.input_scales import SCALE_SUFFIX
from nncf_mcq.model.nodes import constant_value, operations_by_name

IMAGES = np.random.default_rng(0).random((12, 1, 3, 16, 16), dtype=np.float32)


def make_network() -> torch.nn.Module:
    """A depthwise convolution whose channels are unequal, and one that makes good for it: the usual case."""
    torch.manual_seed(0)
    factors = torch.exp(2 * torch.randn(16))
    depthwise, last = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16), torch.nn.Conv2d(16, 24, 1)
    with torch.no_grad():
        for parameter in depthwise.parameters():
            parameter.mul_(factors.reshape(-1, *(1 for _ in parameter.shape[1:])))
        last.weight.div_(factors[None, :, None, None])
    first = torch.nn.Conv2d(3, 16, 3, padding=1)
    return torch.nn.Sequential(first, torch.nn.ReLU(), depthwise, torch.nn.ReLU(), last).eval()


def quantize(bits: int, *, threads: int = 1, **weights: Any) -> nncf_mcq.QuantizationResult:
    compression = {
        "weights": weights,
        "correction": {"sequential": False},
        "initializer": {"precision": {"type": "uniform", "bits": bits}},
    }
    config = {
        "input_info": {"sample_size": [1, 3, 16, 16]},
        "compression": compression,
        "runtime": {"threads": threads},
    }
    return nncf_mcq.quantize(make_network(), nncf.Dataset(list(IMAGES)), config)


def relative_error(result: nncf_mcq.QuantizationResult) -> float:
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    runs = [ov.Core().compile_model(model.clone(), "CPU", properties) for model in (result.model, result.float_model)]
    found, expected = (np.stack([np.array(run(image)[0]) for image in IMAGES]) for run in runs)
    return float(np.square(found - expected).mean() / np.square(expected).mean())


def scaled_layers(model: ov.Model) -> list[str]:
    return [name for name in operations_by_name(model) if name.endswith(SCALE_SUFFIX)]


@pytest.mark.parametrize("per_channel", [True, False])
def test_4_bits_lose_less(per_channel: bool) -> None:
    equalized = quantize(4, per_channel=per_channel)

    assert len(scaled_layers(equalized.model)) == 1
    plain = quantize(4, per_channel=per_channel, equalization=False)
    assert not scaled_layers(plain.model)
    assert relative_error(equalized) < 0.6 * relative_error(plain)
    assert [layer.bits for layer in equalized.layers] == [4, 4, 4]


def test_float_model_is_the_one_that_was_given() -> None:
    assert not scaled_layers(quantize(4).float_model)


def test_saved_model_is_verified_and_stays_int8(tmp_path: Path) -> None:
    result = quantize(4)

    result.save(tmp_path)

    assert result.document.verified
    assert [layer.is_integer for layer in result.document.layers] == [True] * 3


def test_factors_are_fused_with_the_layer_before() -> None:
    """No operation of its own runs them."""
    compiled = ov.Core().compile_model(quantize(4).model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    nodes = compiled.get_runtime_model().get_ops()
    names = [node.get_rt_info()["originalLayersNames"].astype(str) for node in nodes]
    (runs_factors,) = [name for name in names if SCALE_SUFFIX + "/fq" in name]
    assert "__module.2" in runs_factors


def test_policies_name_activations_as_ever() -> None:
    equalized, plain = quantize(4), quantize(4, equalization=False)

    assert equalized.policy.activation_bits == plain.policy.activation_bits


def test_8_bits_are_left_alone() -> None:
    assert not scaled_layers(quantize(8).model)


def test_threads_change_nothing() -> None:
    first, second = (operations_by_name(quantize(4, threads=threads).model) for threads in (1, 2))

    for name in (name for name in first if name.endswith(SCALE_SUFFIX)):
        scales = [constant_value(operations[name], 1) for operations in (first, second)]
        assert np.array_equal(scales[0], scales[1])
