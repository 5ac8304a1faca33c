from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset
from torch import Tensor, nn

from nncf_mcq import (
    FLOAT_CHOICE,
    ConfigError,
    Policy,
    QuantizationError,
    QuantizationResult,
    TrainingModule,
    finish_training,
    prepare_training,
    quantize,
)
from nncf_mcq.ir.packing import unpack_weight
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import operations_by_name, source
from tests.integration.test_layer_kinds import torch_model
from tests.models import (
    SAMPLE_SIZE,
    as_dataset,
    concat_model,
    convolution,
    make_model,
    random_constant,
    random_images,
    run,
    shared_weights_model,
    small_network,
)

IMAGES = 12


def images_of(model: ov.Model, seed: int = 0, count: int = IMAGES) -> np.ndarray:
    return random_images(count, tuple(model.input(0).shape), seed=seed)


def configured(
    precision: Mapping[str, Any] | None = None, activation_bits: int = 8, **compression: Any
) -> dict[str, Any]:
    return {
        "compression": {
            "activations": {"bits": activation_bits},
            "correction": {"sequential": False},
            "initializer": {"precision": dict(precision or {"type": "uniform", "bits": 3})},
            **compression,
        },
        "runtime": {"threads": 1, "batch_size": 1},
    }


def quantized(model: ov.Model, **options: Any) -> QuantizationResult:
    return quantize(model, as_dataset(images_of(model)), configured(**options))


def small_model() -> ov.Model:
    return to_openvino(small_network(), SAMPLE_SIZE)


@functools.cache
def small_result() -> QuantizationResult:
    return quantized(small_model(), correction={"sequential": True})


def grouped_model() -> ov.Model:
    return torch_model(
        (1, 8, 6, 6),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 4, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 5)),
    )


def outputs(module: TrainingModule, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: Tensor = module(torch.from_numpy(images))
    return found.numpy()


def assert_equal(module: TrainingModule, model: ov.Model) -> None:
    """The outputs of a module are those of an IR on images that neither has seen.

    A sum in another order puts a value on the other side of a rounding now and then: not more than one of twenty.
    """
    images = images_of(model, seed=1, count=40)
    expected, found = run(model, images, threads=1, batch_size=1), outputs(module, images)
    assert found.shape == expected.shape
    close = np.isclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max()).reshape(len(images), -1).all(1)
    assert close.mean() > 0.95
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05 * float(np.ptp(expected)))


def train(module: TrainingModule, images: np.ndarray, steps: int = 10, rate: float = 0.01) -> list[float]:
    """The distances from the float outputs, while the module is trained to come close to them."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    return [step(module, optimizer, torch.from_numpy(images)) for _ in range(steps)]


def step(module: TrainingModule, optimizer: torch.optim.Optimizer, images: Tensor) -> float:
    loss = (module(images) - module.float_outputs(images)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


CASES: dict[str, Callable[[], QuantizationResult]] = {
    "depthwise": small_result,
    "2 bits": lambda: quantized(small_model(), precision={"type": "uniform", "bits": 2}),
    "8 bits": lambda: quantized(small_model(), precision={"type": "uniform", "bits": 8}),
    "grouped and transposed": lambda: quantized(grouped_model()),
    "shared weights": lambda: quantized(shared_weights_model()),
    "shared grids": lambda: quantized(concat_model()),
    "activations of 4 bits": lambda: quantized(small_model(), activation_bits=4),
    "activations of 6 bits": lambda: quantized(concat_model(), activation_bits=6),
    "ranges per channel": lambda: quantized(small_model(), activations={"bits": 8, "per_channel": True}),
    "symmetric, per tensor": lambda: quantized(small_model(), weights={"mode": "symmetric", "per_channel": False}),
    "float layers": lambda: quantized(small_model(), ignored_scopes=["{re}stem|head"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_module_computes_what_the_ir_does_before_and_after_training(case: str) -> None:
    result = CASES[case]()
    module = prepare_training(result)
    assert_equal(module, result.model)
    before = outputs(module, images_of(result.model))
    train(module, images_of(result.model))
    assert np.abs(outputs(module, images_of(result.model)) - before).max() > 1e-3
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.quantized.parameters())
    assert_equal(module, finish_training(module).model)


def test_weights_are_on_the_levels_of_the_policy() -> None:
    module = prepare_training(small_result())
    train(module, random_images(IMAGES), rate=0.1)
    trained = finish_training(module)
    assert trained.policy == small_result().policy
    operations = operations_by_name(trained.model)
    for layer in trained.layers:
        weight = unpack_weight(source(operations[layer.name], 1))
        assert weight is not None
        assert weight.bits == layer.bits == 3
        np.testing.assert_array_equal(weight.values, module.weights()[layer.name].detach().numpy())


@pytest.mark.parametrize("parts", ["scaled", "step", "biases", ""])
def test_the_loss_falls_by_each_kind_of_parameter(parts: str) -> None:
    module = prepare_training(small_result())
    chosen = [parameter for name, parameter in module.named_parameters() if parts in name]
    optimizer = torch.optim.Adam(chosen, lr=0.004)
    images = torch.from_numpy(random_images(128))
    losses = [step(module, optimizer, images[16 * (number % 8) :][:16]) for number in range(200)]
    assert np.mean(losses[-8:]) < (0.97 if parts else 0.85) * np.mean(losses[:8])


def test_a_trained_result_saves_and_trains_on(tmp_path: Path) -> None:
    module = prepare_training(small_result())
    train(module, random_images(IMAGES))
    trained = finish_training(module)
    trained.save(tmp_path)
    assert trained.verification is not None and trained.verification.passed
    assert trained.document["search"]["details"]["trained"] is True
    assert {"average_weight_bits": 3.0}.items() <= trained.metrics["quantized"].items()
    again = prepare_training(trained)
    assert_equal(again, trained.model)
    assert_equal(again, ov.Core().read_model(tmp_path / "model.xml"))


def test_metrics_are_measured_anew() -> None:
    def evaluate(compiled: ov.CompiledModel) -> dict[str, float]:
        return {"first": float(compiled(random_images(1))[0][0, 0])}

    result = (
        quantize(small_network(), as_dataset(random_images(IMAGES)), configured(), evaluate=evaluate) if 0 else None
    )
    del result
    module = prepare_training(small_result())
    train(module, random_images(IMAGES))
    trained = finish_training(module, evaluate=evaluate, report_dataset=as_dataset(random_images(4)))
    expected = run(trained.model, random_images(1), threads=1, batch_size=1)[0, 0]
    assert trained.metrics["quantized"]["first"] == pytest.approx(float(expected))
    assert trained.metrics["float"]["first"] != trained.metrics["quantized"]["first"]
    assert "agreement" in trained.metrics["quantized"]


def test_layers_that_share_their_weights_still_do() -> None:
    result = quantized(shared_weights_model())
    module = prepare_training(result)
    assert module.source.quantized == (("first", "second"), ("last",))
    train(module, images_of(result.model))
    operations = operations_by_name(finish_training(module).model)
    first, second = (source(operations[name], 1) for name in ("first", "second"))
    assert first.get_name() == second.get_name()


def test_float_layers_train_as_they_are_stored() -> None:
    result = quantized(small_model(), ignored_scopes=["{re}stem"])
    module = prepare_training(result)
    assert len(module.floats) == 1
    before = [parameter.detach().clone() for parameter in module.floats.parameters()]
    train(module, images_of(result.model))
    assert not any(torch.equal(old, new) for old, new in zip(before, module.floats.parameters(), strict=True))
    trained = finish_training(module)
    assert [(item.name, item.bits) for item in trained.float_weights] == [
        (item.name, item.bits) for item in result.float_weights
    ]


def test_float_layers_of_a_policy_train(tmp_path: Path) -> None:
    names = list(small_result().policy.weight_bits)
    bits = {name: 3 if number else FLOAT_CHOICE for number, name in enumerate(names)}
    policy = Policy(bits, small_result().policy.activation_bits)
    (tmp_path / "policy.json").write_text(json.dumps(policy.to_dict()))
    module = prepare_training(
        small_network(),
        tmp_path / "policy.json",
        as_dataset(random_images(IMAGES)),
        {**configured(), "input_info": {"sample_size": list(SAMPLE_SIZE)}},
    )
    assert module.source.floats == ((names[0],),)
    train(module, random_images(IMAGES))
    assert_equal(module, finish_training(module).model)


def test_a_policy_and_images_are_enough() -> None:
    policy = Policy(dict.fromkeys(small_result().policy.weight_bits, 4), small_result().policy.activation_bits)
    module = prepare_training(
        small_network(), policy, as_dataset(random_images(IMAGES)), {"input_info": {"sample_size": list(SAMPLE_SIZE)}}
    )
    result = finish_training(module)
    assert result.policy == policy
    assert_equal(module, result.model)


def test_a_checkpoint_resumes_to_the_same_end() -> None:
    images = torch.from_numpy(random_images(IMAGES))

    def start() -> tuple[TrainingModule, torch.optim.Optimizer]:
        module = prepare_training(small_result())
        return module, torch.optim.Adam(module.parameters(), lr=0.01)

    module, optimizer = start()
    for _ in range(3):
        step(module, optimizer, images)
    checkpoint = copy.deepcopy({"module": module.state_dict(), "optimizer": optimizer.state_dict()})
    resumed, its_optimizer = start()
    resumed.load_state_dict(checkpoint["module"])
    its_optimizer.load_state_dict(checkpoint["optimizer"])
    ends = []
    for one, its in ((module, optimizer), (resumed, its_optimizer)):
        for _ in range(3):
            step(one, its, images)
        ends.append(run(finish_training(one).model, images.numpy(), threads=1, batch_size=1))
    np.testing.assert_array_equal(ends[0], ends[1])


def test_a_checkpoint_restores_the_grids_too() -> None:
    other = prepare_training(quantized(small_model(), activation_bits=8, activations={"bits": 8, "mode": "asymmetric"}))
    module = prepare_training(small_result())
    images = random_images(IMAGES)
    assert not np.array_equal(outputs(module, images), outputs(other, images))
    module.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(outputs(module, images), outputs(other, images))


def test_a_copy_is_independent() -> None:
    module = prepare_training(small_result())
    twin = copy.deepcopy(module)
    before = outputs(module, random_images(IMAGES))
    train(twin, random_images(IMAGES))
    np.testing.assert_array_equal(outputs(module, random_images(IMAGES)), before)
    assert not np.array_equal(outputs(twin, random_images(IMAGES)), before)
    assert_equal(twin, finish_training(twin).model)


def test_a_module_moves_as_a_whole() -> None:
    module = prepare_training(small_result()).to("meta")
    assert {tensor.device.type for tensor in [*module.parameters(), *module.buffers()]} == {"meta"}
    result: Tensor = module(torch.empty(7, *SAMPLE_SIZE[1:], device="meta"))
    assert (result.device.type, result.shape) == ("meta", (7, 5))
    doubled = prepare_training(small_result()).double()
    found: Tensor = doubled(torch.from_numpy(random_images(3)).double())
    assert found.dtype == torch.float64


def unknown_operation() -> ov.Model:
    def build(data: ov.Node) -> ov.Node:
        values = convolution(data, random_constant(4, 3, 3, 3), "layer", pad=1)
        return opset.sin(values, name="wave")

    return make_model(build, SAMPLE_SIZE)


def test_mistakes_are_clear_errors() -> None:
    images = as_dataset(random_images(IMAGES))
    with pytest.raises(QuantizationError, match="found SmallNetwork, allowed: the module that prepare_training"):
        finish_training(small_network())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'nowhere'"):
        prepare_training(small_model(), Policy({"nowhere": 4}), images)
    with pytest.raises(ConfigError, match="calibration_dataset: found None"):
        prepare_training(small_model(), small_result().policy)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="policy: found 'Policy', allowed: nothing"):
        prepare_training(small_result(), small_result().policy)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match=r"policy: .* allowed: the path of its policy\.json"):
        prepare_training(small_model(), Policy({"stem": FLOAT_CHOICE}), images)
    with pytest.raises(QuantizationError, match="wave: found operation Sin, allowed:"):
        prepare_training(quantized(unknown_operation()))
    int8 = quantize(small_model(), images, {"compression": {"algorithm": "quantization"}})
    with pytest.raises(ConfigError, match=r"compression\.algorithm: found 'quantization'"):
        prepare_training(int8)


def test_a_checkpoint_of_other_bits_is_a_clear_error() -> None:
    other = prepare_training(quantized(small_model(), precision={"type": "uniform", "bits": 4}))
    with pytest.raises(RuntimeError, match=r"quantized\.0: found 4 bits, allowed: 3, as in the policy"):
        prepare_training(small_result()).load_state_dict(other.state_dict())


@pytest.mark.parametrize("part", ["quantized", "biases", "activations"])
def test_numbers_that_are_not_finite_name_their_layer(part: str) -> None:
    module = prepare_training(small_result())
    names = {"quantized": module.source.quantized[1][0], "biases": module.source.biases[1]}
    parameter = next(getattr(module, part)[1].parameters())
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")
    name = names.get(part, module.source.grids[1][0])
    with pytest.raises(QuantizationError, match="holds values that are not finite") as caught:
        finish_training(module)
    assert str(caught.value).startswith(f"{name}: after the training its")
