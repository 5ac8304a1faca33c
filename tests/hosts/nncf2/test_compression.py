"""Configurations of NNCF 2 with the initializers of this package, on a small network: bits, ranges, the way back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model
from nncf.torch.quantization.algo import QuantizationController

import nncf_mcq
import nncf_mcq.nncf2
from nncf_mcq import QuantizationResult
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.model.inference import compile_model
from nncf_mcq.nncf2 import finish_training
from nncf_mcq.nncf2.images import as_dataset, registered_images
from tests.hosts.nncf2.networks import SHAPE, compress, configured, loader, network, train

IMAGES = next(iter(loader(8)))[0]


def quantization(precision: dict[str, Any] | None, **initializer: Any) -> dict[str, Any]:
    if precision is not None:
        initializer["precision"] = precision
    initializer.setdefault("batchnorm_adaptation", {"num_bn_adaptation_samples": 0})
    return {"algorithm": "quantization", "initializer": initializer}


UNIFORM = quantization({"type": "uniform", "bits": 3}, range={"type": "mixed_clipping", "num_init_samples": 16})
ILP = {"type": "ilp", "budget": {"weight_size": {"average_bits": 4}}}


@torch.no_grad()
def outputs(model: torch.nn.Module) -> np.ndarray:
    values: np.ndarray = model.eval()(IMAGES).numpy()
    return values


def outputs_of(result: QuantizationResult) -> np.ndarray:
    compiled = compile_model(result.model, 1)
    return np.concatenate([compiled(image[None])[0] for image in IMAGES.numpy()])


def bits_of(controller: Any) -> list[int]:
    return [info.quantizer_module_ref.num_bits for info in controller.weight_quantizers.values()]


def check_way_back(controller: Any, model: torch.nn.Module, folder: Path) -> QuantizationResult:
    """The IR computes what the network of NNCF 2 does, but for roundings of activations that fall the other way."""
    result = finish_training(controller)
    expected, found = outputs(model), outputs_of(result)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    result.save(folder)
    assert result.verification is not None and result.verification.passed
    assert {layer.runtime_precision for layer in result.layers if layer.integer_kernel} <= {"i8", "u8"}
    return result


@pytest.mark.parametrize(
    "precision",
    [{"type": "uniform", "bits": bits} for bits in (2, 3, 8)] + [ILP],
    ids=lambda precision: f"{precision['type']}{precision.get('bits', '')}",
)
def test_a_trained_network_comes_back(precision: dict[str, Any], tmp_path: Path) -> None:
    controller, model = compress(quantization(precision, range={"type": "mixed_clipping", "num_init_samples": 16}))
    before = outputs(model)
    check_way_back(controller, model, tmp_path / "before")
    train(model)
    assert np.abs(outputs(model) - before).max() > 0.02
    result = check_way_back(controller, model, tmp_path / "after")
    assert list(result.policy.weight_bits.values()) == bits_of(controller)
    assert result.search.method == precision["type"]
    assert result.search.details["trained"] is True


@pytest.mark.parametrize("bits", [3, 8])
def test_trained_weights_and_biases_come_back_exactly(bits: int) -> None:
    section = quantization({"type": "uniform", "bits": bits}, range={"type": "mixed_clipping", "num_init_samples": 16})
    controller, model = compress(section)
    train(model)
    result = finish_training(controller)
    # Without the roundings of activations, which may fall either way.
    for info in controller.non_weight_quantizers.values():
        info.quantizer_module_ref.disable_quantization()
    for operation in result.model.get_ordered_ops():
        if operation.get_type_name() == "FakeQuantize":
            for reader in operation.output(0).get_target_inputs():
                reader.replace_source_output(operation.input_value(0))
    expected = outputs(model)
    np.testing.assert_allclose(outputs_of(result), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_way_back_changes_nothing_in_the_network() -> None:
    controller, model = compress(UNIFORM)
    train(model)
    state, expected = copy.deepcopy(model.state_dict()), outputs(model)
    first = outputs_of(finish_training(controller))
    np.testing.assert_array_equal(outputs(model), expected)
    np.testing.assert_array_equal(outputs_of(finish_training(controller)), first)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for name, parameter in model.named_parameters() if "scale" in name)
    # The controller still holds the quantizers that the network is computed with.
    inside = {id(module) for module in model.modules()}
    assert all(id(info.quantizer_module_ref) in inside for info in controller.weight_quantizers.values())


def test_the_policy_and_the_weights_are_those_of_quantize(tmp_path: Path) -> None:
    section = quantization(ILP, range={"type": "mixed_clipping", "num_init_samples": 16})
    controller, _ = compress(section)
    config = {
        "input_info": {"sample_size": [1, *SHAPE]},
        "compression": {
            "weights": {"coding": "uniform", "isa": "vnni", "equalization": False},
            "initializer": {"num_init_samples": 16, "range": "mixed_clipping", "precision": ILP},
        },
    }
    images = as_dataset(registered_images(configured(section), 16))
    quantized = nncf_mcq.quantize(network(), images, config)
    assert controller.start.result.policy == quantized.policy
    assert bits_of(controller) == list(quantized.policy.weight_bits.values())
    files = [item.save(tmp_path / name) for name, item in (("a", quantized), ("b", controller.start.result))]
    assert files[0].with_suffix(".bin").read_bytes() == files[1].with_suffix(".bin").read_bytes()


def test_weights_start_on_their_levels() -> None:
    controller, _ = compress(UNIFORM)
    for info in controller.weight_quantizers.values():
        weights = info.quantized_module.weight.detach()
        rounded = info.quantizer_module_ref.quantize(weights).detach()
        step = (rounded.amax() - rounded.amin()) / 7
        # All but the channel that its batch normalization multiplies by 0.
        close = (rounded - weights).abs().flatten(1).amax(1) < 0.01 * step
        assert int((~close).sum()) <= 1


def activation_scales(section: dict[str, Any]) -> list[float]:
    controller, _ = compress(section)
    quantizers = [info.quantizer_module_ref for info in controller.non_weight_quantizers.values()]
    return [float(quantizer.scale.detach()) for quantizer in quantizers]


def test_activations_get_the_range_that_the_configuration_names() -> None:
    rule = {"type": "mean_min_max", "num_init_samples": 16}
    named = activation_scales(quantization({"type": "uniform", "bits": 4}, range=rule))
    np.testing.assert_allclose(named, activation_scales(quantization(None, range=rule)), rtol=1e-5)
    ours = activation_scales(UNIFORM)
    assert np.abs(np.subtract(ours, named)).max() > 1e-3


def test_what_asks_for_nothing_of_this_package_is_nncf_2_as_it_was(tmp_path: Path) -> None:
    controller, model = compress(quantization(None, range={"num_init_samples": 16}), target_device="CPU")
    assert type(controller) is QuantizationController
    assert set(bits_of(controller)) == {8}
    train(model)
    result = check_way_back(controller, model, tmp_path)
    assert set(result.policy.weight_bits.values()) == {8}


OLD: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[list[int]], bool], str]] = {
    "autoq": (
        {"target_device": "VPU", "epochs": 10},
        {
            "algorithm": "quantization",
            "initializer": {
                "batchnorm_adaptation": {"num_bn_adaptation_samples": 16},
                "range": {"type": "mean_min_max", "num_init_samples": 16},
                "precision": {
                    "type": "autoq",
                    "bits": [2, 4, 8],
                    "iter_number": 20,
                    "compression_ratio": 0.15,
                    "eval_subset_ratio": 0.2,
                    "dump_init_precision_data": True,
                },
            },
            "params": {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 0, "base_lr": 2e-4},
        },
        lambda bits: set(bits) <= {2, 4, 8} and len(set(bits)) > 1,
        "precision autoq: rl with the budget weight_size.ratio 0.15",
    ),
    "hawq": (
        {"target_device": "NPU"},
        {
            "algorithm": "quantization",
            "quantize_inputs": True,
            "initializer": {"precision": {"type": "hawq", "bits": [4, 8], "compression_ratio": 1.5}},
        },
        lambda bits: set(bits) == {4, 8},
        "precision hawq: ilp with measured sensitivities and the budget bops.ratio 1 / 1.5",
    ),
    "manual": (
        {"target_device": "TRIAL"},
        {
            "algorithm": "quantization",
            "weights": {"mode": "asymmetric", "bits": 4},
            "activations": {"mode": "asymmetric", "bits": 4},
            "initializer": {
                "precision": {
                    "bitwidth_per_scope": [
                        [8, "Network/NNCFConv2d[stem]/conv2d_0|WEIGHT"],
                        [8, "/nncf_model_input_0|OUTPUT"],
                        [2, "Network/Block[depthwise]/NNCFConv2d[conv]/conv2d_0|WEIGHT"],
                    ]
                }
            },
        },
        lambda bits: bits == [8, 4, 2, 4, 4],
        "precision manual: the 3 given bits are kept",
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_files_that_users_have_run_with_this_package_in_place(name: str, log: list[str], tmp_path: Path) -> None:
    top, section, expected, notice = OLD[name]
    controller, model = compress(section, **{key: value for key, value in top.items() if key == "target_device"})
    assert expected(bits_of(controller)), bits_of(controller)
    messages = "\n".join(log)
    assert notice in messages
    if name == "autoq":
        assert "precision.eval_subset_ratio: not used" in messages
        assert "range mean_min_max: for activations" in messages
    assert ("target_device" in messages) == (name != "manual")
    controller.scheduler.epoch_step()
    train(model)
    result = check_way_back(controller, model, tmp_path)
    assert list(result.policy.weight_bits.values()) == bits_of(controller)
    if name == "manual":
        assert sorted(set(result.policy.activation_bits.values())) == [4, 8]


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    controller, model = compress(UNIFORM)
    train(model)
    state, weights = controller.get_compression_state(), copy.deepcopy(model.state_dict())
    resumed, again = create_compressed_model(network(1), configured(UNIFORM), state, dump_graphs=False)
    again.load_state_dict(weights)
    np.testing.assert_allclose(outputs(again), outputs(model), atol=1e-5)
    result = check_way_back(resumed, again, tmp_path)
    np.testing.assert_array_equal(outputs_of(result), outputs_of(finish_training(controller)))


def test_a_quantization_may_be_one_of_several_algorithms(tmp_path: Path) -> None:
    distillation = {"algorithm": "knowledge_distillation", "type": "softmax"}
    controller, model = compress([UNIFORM, distillation])
    check_way_back(controller, model, tmp_path)


def test_ignored_layers_stay_in_floating_point(tmp_path: Path, log: list[str]) -> None:
    controller, model = compress({**UNIFORM, "ignored_scopes": ["{re}.*stem.*"]})
    train(model)
    result = check_way_back(controller, model, tmp_path)
    assert len(result.layers) == 4
    assert any("layers that NNCF 2 does not quantize" in message and "stem" in message for message in log)


def test_an_export_writes_the_ir_and_then_what_nncf_2_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, _ = compress(UNIFORM)
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(QuantizationController, "export_model", lambda _, *values: asked.append(values))
    controller.export_model(str(tmp_path / "a.onnx"))
    controller.export_model(str(tmp_path / "b.onnx"), save_format="openvino")
    assert [(tmp_path / name / "model.xml").is_file() for name in "ab"] == [True, True]
    assert asked == [(str(tmp_path / "a.onnx"), None)]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            quantization({"type": "rl", "budgt": {}}),
            "precision.budgt: found 'unknown key budgt', allowed: one of the keys",
        ),
        (
            quantization({"type": "none such"}),
            "precision.type: found 'none such', allowed: a precision initializer: .*rl",
        ),
        (
            quantization(ILP, range={"type": "mixed_cliping"}),
            "range.type: found 'mixed_cliping', allowed: .*mixed_clipp",
        ),
        (
            quantization(ILP, ranges={}),
            "initializer.ranges: found 'unknown key ranges', allowed: one of the keys batchn",
        ),
        (
            {**UNIFORM, "weight": {}},
            "compression.weight: found 'unknown key weight', allowed: one of the keys algorithm",
        ),
        (
            {**UNIFORM, "weights": {"bits": "3"}},
            "compression.weights.bits: found '3', allowed: what NNCF's schema has there: .*'number'",
        ),
    ],
)
def test_what_the_schema_refuses_is_named(section: dict[str, Any], message: str) -> None:
    for found in (section, [{"algorithm": "knowledge_distillation", "type": "softmax"}, section]):
        with pytest.raises(ConfigError, match=message):
            NNCFConfig.from_dict({"compression": found})


def test_what_is_of_nncf_2_alone_is_refused_as_ever() -> None:
    for section in ({"algorithm": "quantization", "weight": {}}, {"algorithm": "none such"}):
        with pytest.raises(jsonschema.ValidationError):
            NNCFConfig.from_dict({"compression": section})


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (
            {"type": "rl", "budget": {"weight_size": {}}},
            r"precision\.budget\.weight_size: found .*, allowed: exactly one",
        ),
        ({"type": "ilp", "goal": {"top1_drop": 1.0}}, r"precision\.goal: found 'top1_drop', allowed: agreement or kl"),
        ({"bitwidth_per_scope": [[9, "a"]]}, r"precision\.bitwidth_per_scope\[0\]\[0\]: found 9, allowed: 2, 3, 4, 5"),
    ],
)
def test_values_that_cannot_be_used_are_errors(precision: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compress(quantization(precision))


def test_weights_and_activations_may_have_a_range_each() -> None:
    rule = {"type": "mean_min_max", "num_init_samples": 16}
    both = [
        {"type": "mixed_clipping", "num_init_samples": 16, "target_quantizer_group": "weights"},
        {**rule, "target_quantizer_group": "activations"},
    ]
    precision = {"type": "uniform", "bits": 4}
    expected = activation_scales(quantization(precision, range=rule))
    np.testing.assert_allclose(activation_scales(quantization(precision, range=both)), expected, rtol=1e-5)


def test_the_log_tells_the_stages_and_the_outcome(log: list[str]) -> None:
    compress(UNIFORM)
    assert log.index("nncf_mcq: layers") < log.index("nncf_mcq: 5 layers of 3 bits, 3.00 on average")


def test_without_images_there_is_nothing_to_search_on() -> None:
    config = NNCFConfig.from_dict({"input_info": {"sample_size": [1, *SHAPE]}, "compression": UNIFORM})
    with pytest.raises(ConfigError, match="register_default_init_args"):
        create_compressed_model(network(), config, dump_graphs=False)


def test_only_a_controller_comes_back() -> None:
    with pytest.raises(QuantizationError, match="found Network, allowed: the controller of a quantization"):
        finish_training(network())
