"""What `set_local` and the white list say of modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from neural_compressor.torch.quantization import quantize

from nncf_mcq import ConfigError, Policy
from nncf_mcq.inc import MixedClippingConfig
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.module_layers import modules_of_layers

Calibrate = Callable[[torch.nn.Module], None]


class Small(torch.nn.Module):
    """Two blocks, of which the normalizations are folded, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.second = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.last = torch.nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(images)).mean((2, 3)))


FIRST, SECOND, LAST = "first.1/Convolution", "second.1/Convolution", "__module.last/aten::linear/MatMul"


def with_random_norms(model: torch.nn.Module) -> torch.nn.Module:
    """A model with batch normalizations that change every channel, as after a training, some of them with a minus."""
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, -1, 1)
            torch.nn.init.normal_(part.bias)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model.eval()


def run(prepared: torch.nn.Module) -> None:
    prepared(torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return with_random_norms(Small())


def policy_of(model: torch.nn.Module, config: MixedClippingConfig) -> Policy:
    return quantize(model, config, run_fn=run).result.policy


def test_modules_stay_in_floating_point_by_name_pattern_and_type(small: torch.nn.Module) -> None:
    targets: list[tuple[Any, set[str]]] = [
        ("last", {FIRST, SECOND}),
        (torch.nn.Conv2d, {LAST}),
        ("(first|last)", {SECOND}),
    ]
    for target, quantized in targets:
        config = MixedClippingConfig(bits=4).set_local(target, MixedClippingConfig(dtype="fp32"))
        assert policy_of(small, config).weight_bits == dict.fromkeys(quantized, 4)


def test_a_white_list_names_all_that_is_quantized(small: torch.nn.Module) -> None:
    assert set(policy_of(small, MixedClippingConfig(bits=4, white_list=["second"])).weight_bits) == {SECOND}
    assert set(policy_of(small, MixedClippingConfig(bits=4, white_list=[torch.nn.Linear])).weight_bits) == {LAST}


def test_a_layer_of_no_module_is_part_of_the_model_and_of_no_white_list() -> None:
    class Functional(Small):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = torch.nn.Parameter(torch.rand(3, 3, 3, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.nn.functional.conv2d(images, self.kernel).sigmoid())

    torch.manual_seed(0)
    model = with_random_norms(Functional())
    config = MixedClippingConfig(bits=4).set_local(torch.nn.Linear, MixedClippingConfig(dtype="fp32"))
    assert len(policy_of(model, config).weight_bits) == 3
    assert set(policy_of(model, MixedClippingConfig(bits=4, white_list=["last"])).weight_bits) == {LAST}


def test_modules_have_bits_and_rules_of_their_own(small: torch.nn.Module) -> None:
    config = MixedClippingConfig(bits=4, clipping="max")
    config.set_local(["first.0", "last"], MixedClippingConfig(bits=8))
    config.set_local("second", MixedClippingConfig(clipping="mse"))
    result = quantize(small, config, run_fn=run).result
    assert result.policy.weight_bits == {FIRST: 8, SECOND: 4, LAST: 8}
    assert {layer.name: layer.rule for layer in result.layers} == {FIRST: "max", SECOND: "mse", LAST: "max"}


@pytest.mark.parametrize(
    ("target", "local", "message"),
    [
        ("third", {"dtype": "fp32"}, r"set_local: found 'third', allowed: the name of a module, or a pattern"),
        ("(", {"dtype": "fp32"}, r"set_local: found '\(', allowed: a regular expression"),
        ("last", {"average_bits": 3.0}, r"set_local last: average_bits: found 3.0, allowed: only dtype, bits, clip"),
        ("last", {"bits": 8}, r"set_local last: bits: found 8, allowed: bits only where the whole model has them"),
        ("last", {"clipping": ["mse", "max"]}, r"set_local last: clipping: found .*, allowed: one value, even for aut"),
        ("unused", {"dtype": "fp32"}, r"set_local unused: found 'unused', allowed: a module that the converted model"),
    ],
)
def test_what_a_module_cannot_have_is_refused(
    target: str, local: dict[str, Any], message: str, small: torch.nn.Module
) -> None:
    small.unused = torch.nn.Linear(8, 5)
    config = MixedClippingConfig(average_bits=4.0).set_local(target, MixedClippingConfig(**local))
    with pytest.raises(ConfigError, match=message):
        policy_of(small, config)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "densenet121", "squeezenet1_0"])
def test_each_layer_is_that_of_one_module(name: str) -> None:
    torch.manual_seed(0)
    model = with_random_norms(getattr(torchvision.models, name)(weights=None))
    names = [module for module, _ in MixedClippingConfig().get_model_info(model)]
    quantizable = find_layers(to_openvino(model, [1, 3, 224, 224]))
    found = modules_of_layers(model, names, quantizable)
    assert set(found) == {layer.name for layer in quantizable.layers}
    assert sorted(found.values()) == sorted(names)


def test_transposed_convolutions_are_found() -> None:
    torch.manual_seed(0)
    model = with_random_norms(
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3),
            torch.nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2),
            torch.nn.BatchNorm2d(4),
            torch.nn.ConvTranspose2d(4, 6, 5),
            torch.nn.BatchNorm2d(6),
        )
    )
    quantizable = find_layers(to_openvino(model, [1, 3, 16, 16]))
    found = modules_of_layers(model, ["0", "1", "3"], quantizable)
    by_weights = {quantizable.layer(layer).weights: module for layer, module in found.items()}
    assert by_weights == {8 * 3 * 9: "0", 8 * 2 * 4: "1", 4 * 6 * 25: "3"}
