"""Equalization in the whole pipeline."""

from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
import torch

import nncf_mcq
import nncf_mcq.weights.equalization
from nncf_mcq.calibration.channel_moments import collect_channel_moments
from nncf_mcq.config.schema import CompressionConfig, load_config
from nncf_mcq.ir.packing import unpack_weight
from nncf_mcq.latency import latency_key
from nncf_mcq.model.channel_groups import find_channel_groups
from nncf_mcq.model.channel_scales import channel_steps, factors_of
from nncf_mcq.model.input_scales import SCALE_SUFFIX, layers_of_own_input
from nncf_mcq.model.layers import find_layers, layer_weight
from nncf_mcq.model.nodes import constant_value, operations_by_name, source
from nncf_mcq.model.samples import as_samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.pipeline.equalization import equalize
from nncf_mcq.training.module import QuantizedNetwork
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.equalization import Reader, find_input_factors
from tests.latency.tables import make_table

CLAMP = torch.nn.Hardtanh(0, 50)
"""An activation function that keeps the layer before from absorbing factors."""

IMAGES = np.random.default_rng(0).random((12, 1, 3, 16, 16), dtype=np.float32)


def make_network(activation: torch.nn.Module) -> torch.nn.Module:
    """A depthwise convolution whose channels are unequal, and one that makes good for it: the usual case."""
    torch.manual_seed(0)
    factors = torch.exp(2 * torch.randn(16))
    depthwise, last = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16), torch.nn.Conv2d(16, 24, 1)
    with torch.no_grad():
        for parameter in depthwise.parameters():
            parameter.mul_(factors.reshape(-1, *(1 for _ in parameter.shape[1:])))
        last.weight.div_(factors[None, :, None, None])
    first = torch.nn.Conv2d(3, 16, 3, padding=1)
    return torch.nn.Sequential(first, torch.nn.ReLU(), depthwise, activation, last).eval()


def quantize(
    bits: int, *, threads: int = 1, activation: torch.nn.Module = CLAMP, **weights: Any
) -> nncf_mcq.QuantizationResult:
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
    return nncf_mcq.quantize(make_network(activation), nncf.Dataset(list(IMAGES)), config)


def relative_error(result: nncf_mcq.QuantizationResult) -> float:
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    runs = [ov.Core().compile_model(model.clone(), "CPU", properties) for model in (result.model, result.float_model)]
    found, expected = (np.stack([np.array(run(image)[0]) for image in IMAGES]) for run in runs)
    return float(np.square(found - expected).mean() / np.square(expected).mean())


def scaled_layers(model: ov.Model) -> list[str]:
    return [name for name in operations_by_name(model) if name.endswith(SCALE_SUFFIX)]


def test_4_bits_lose_less() -> None:
    equalized = quantize(4)

    assert len(scaled_layers(equalized.model)) == 1
    plain = quantize(4, equalization=False)
    assert not scaled_layers(plain.model)
    assert relative_error(equalized) < 0.6 * relative_error(plain)
    assert [layer.bits for layer in equalized.layers] == [4, 4, 4]


def test_factors_that_the_layer_before_absorbs_cost_nothing() -> None:
    absorbed, plain = (quantize(4, activation=torch.nn.ReLU(), equalization=state) for state in (True, False))

    assert not scaled_layers(absorbed.model)
    (steps,) = channel_steps(absorbed.model).values()
    assert len(steps) == 16
    assert not channel_steps(plain.model)
    assert relative_error(absorbed) < 0.6 * relative_error(plain)
    kinds = [[node.get_type_name() for node in result.model.get_ordered_ops()] for result in (absorbed, plain)]
    assert kinds[0] == kinds[1]
    assert absorbed.policy == plain.policy


@pytest.mark.parametrize("activation", [torch.nn.ReLU(), CLAMP])
def test_one_step_for_all_rows_leaves_the_model_as_it_is(activation: torch.nn.Module) -> None:
    result = quantize(4, activation=activation, per_channel=False)

    assert not channel_steps(result.model)
    assert not scaled_layers(result.model)


def test_without_operations_of_its_own_only_what_is_absorbed() -> None:
    """A limit of latency is kept by layers as they were measured."""
    images = as_samples([IMAGES[:, 0]])
    compression, stages = CompressionConfig(), Stages(SilentProgress())
    for activation, count in ((torch.nn.ReLU(), 1), (CLAMP, 0)):
        model = ov.convert_model(
            make_network(activation), input=[1, 3, 16, 16], example_input=torch.zeros(1, 3, 16, 16)
        )
        quantizable = find_layers(model)

        found = equalize(quantizable, images, compression, [4], 1, stages, multiplications=False)

        assert not scaled_layers(found.model)
        assert len(channel_steps(found.model)) == count
        assert (found is quantizable) == (count == 0)


@pytest.mark.parametrize(("activation", "count"), [(torch.nn.ReLU(), 1), (CLAMP, 0)])
def test_limit_of_latency_adds_no_operation(activation: torch.nn.Module, count: int, tmp_path: Path) -> None:
    model = ov.convert_model(make_network(activation), input=[1, 3, 16, 16], example_input=torch.zeros(1, 3, 16, 16))
    quantizable = find_layers(model)
    key = latency_key(quantizable, 1, "f32").model
    table = make_table(dict.fromkeys(quantizable.groups, 1.0), model=key, precision="f32")
    (tmp_path / "table.json").write_text(table.to_json(), encoding="utf-8")
    limit = {"ratio_to_int8": 1.1, "table": str(tmp_path / "table.json")}
    values = {"weights": {"bits": [4, 8]}, "initializer": {"precision": {"type": "ilp", "budget": {"latency": limit}}}}
    compression = load_config({"compression": values}).compression

    samples, stages = as_samples([IMAGES[:, 0]]), Stages(SilentProgress())
    calibrated = CalibratedModel.prepare(model, samples, compression, 1, stages, weight_bits=[4])

    assert not scaled_layers(calibrated.quantizable.model)
    assert len(channel_steps(calibrated.quantizable.model)) == count


@pytest.mark.parametrize("activation", [torch.nn.ReLU(), CLAMP])
def test_training_knows_the_factors(activation: torch.nn.Module) -> None:
    network = QuantizedNetwork.of(quantize(4, activation=activation))

    quantized = operations_by_name(network.model)
    floats = operations_by_name(network.quantizable.model)
    for layer in network.quantizable.layers:
        unpacked = unpack_weight(source(quantized[layer.name], 1))
        assert unpacked is not None
        distance = np.abs(layer_weight(layer, floats[layer.name]) - unpacked.values)
        # Rounding compensates by more than half a step; without the factors all would be multiples apart.
        assert np.quantile(distance / unpacked.scale, 0.95) <= 1
        assert (distance <= 4 * unpacked.scale).all()


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


def test_8_bits_have_scales_only_where_one_layer_absorbs_them() -> None:
    assert not scaled_layers(quantize(8).model)
    assert not channel_steps(quantize(8).model)
    absorbed, plain = (quantize(8, activation=torch.nn.ReLU(), equalization=state) for state in (True, False))
    assert len(channel_steps(absorbed.model)) == 1
    assert relative_error(absorbed) < 0.8 * relative_error(plain)


def test_own_factors_are_those_of_the_values_that_were_scaled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the layer's input is multiplied by altogether is what it would be without the other layers.

    That is so as far as samples are trusted, here entirely: what stands in for them is of the scaled values.
    """
    monkeypatch.setattr(nncf_mcq.weights.equalization, "_FEW_SAMPLES", 0)

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            unequal = torch.exp(torch.randn(3, 16))
            self.first, self.branch = torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 16, 1)
            self.middle, self.last = torch.nn.Conv2d(16, 64, 1), torch.nn.Conv2d(16, 64, 1)
            with torch.no_grad():
                for layer, factors in zip((self.branch, self.middle, self.last), unequal, strict=True):
                    layer.weight.mul_(factors[None, :, None, None])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            value = self.first(image)
            result: torch.Tensor = self.last(value + self.branch(value)) + self.middle(value)
            return result

    images, stages = as_samples([IMAGES[:, 0]]), Stages(SilentProgress())
    model = ov.convert_model(Residual().eval(), input=[1, 3, 16, 16], example_input=torch.zeros(1, 3, 16, 16))
    quantizable = find_layers(model)
    (own,) = layers_of_own_input(quantizable)
    (group,) = find_channel_groups(quantizable)
    weights = layer_weight(own, operations_by_name(model)[own.name])
    inputs = [image[None] for image in IMAGES[:, 0]]
    moments = collect_channel_moments(model, [own], ([image] for image in inputs), threads=1)[own.name]
    wanted = find_input_factors(Reader(weights.reshape(64, 16, 1), moments, 5, 2))
    assert own.name in group.readers and wanted is not None

    # With so few bits the ranges of the input decide.
    compression = load_config({"compression": {"activations": {"bits": 2}}}).compression

    found = equalize(quantizable, images, compression, [5], 1, stages)

    (scaled,) = scaled_layers(found.model)
    assert scaled == own.name + SCALE_SUFFIX
    (steps,) = channel_steps(found.model).values()
    assert np.ptp(np.log(factors_of(steps))) > 0.5
    ratios = weights / layer_weight(own, operations_by_name(found.model)[own.name])
    differences = np.log(ratios[0, :, 0, 0]) - np.log(wanted)
    assert differences.std() < 0.05


def test_residual_sums_have_scales_up_to_5_bits() -> None:
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first = torch.nn.Conv2d(3, 16, 3)
            self.branch = torch.nn.Conv2d(16, 16, 1)
            self.last = torch.nn.Conv2d(16, 4, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            value = torch.relu(self.first(image))
            result: torch.Tensor = self.last(value + self.branch(value))
            return result

    images, stages = as_samples([IMAGES[:, 0]]), Stages(SilentProgress())
    model = ov.convert_model(Residual().eval(), input=[1, 3, 16, 16], example_input=torch.zeros(1, 3, 16, 16))
    quantizable = find_layers(model)

    counts = {
        bits: len(channel_steps(equalize(quantizable, images, CompressionConfig(), [bits], 1, stages).model))
        for bits in (5, 6)
    }

    assert counts == {5: 1, 6: 0}


def test_threads_change_nothing() -> None:
    first, second = (operations_by_name(quantize(4, threads=threads).model) for threads in (1, 2))

    for name in (name for name in first if name.endswith(SCALE_SUFFIX)):
        scales = [constant_value(operations[name], 1) for operations in (first, second)]
        assert np.array_equal(scales[0], scales[1])
