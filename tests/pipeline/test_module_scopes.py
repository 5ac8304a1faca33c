"""Modules of a torch network in a configuration: layers and activations of the converted model take their place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nncf_mcq.cli.arguments import read_job
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.pipeline.module_scopes import has_module_scopes, with_layer_names
from tests.models import convolution_model

SIZE = (1, 3, 12, 12)


class Block(nn.Module):
    """A residual block whose activation function is one module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, values: Tensor) -> Tensor:
        inner = self.relu(self.first_norm(self.first(values)))
        found: Tensor = self.relu(self.second_norm(self.second(inner)) + values)
        return found


class Sum(nn.Module):
    """A block that ends with an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.conv(values) + values
        return found


class Network(nn.Module):
    """Names of its layers are lost when batch normalizations are folded into them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.blocks = nn.Sequential(Block(), Block(), Sum())
        self.middle = nn.Conv2d(8, 8, 3, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 2)
        self.head = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.up(self.middle(self.blocks(self.stem(images)))).mean((2, 3)))
        return found


def network() -> Network:
    torch.manual_seed(0)
    made = Network()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return made.eval()


@pytest.fixture(scope="module")
def quantizable() -> QuantizableModel:
    return find_layers(to_openvino(network(), SIZE))


def config(weights: Any = (), activations: Any = (), ignored: Any = ()) -> Config:
    precision = {
        "type": "manual",
        "bitwidth_per_scope": list(weights),
        "activation_bitwidth_per_scope": list(activations),
    }
    compression = {"initializer": {"precision": precision}, "ignored_scopes": list(ignored)}
    return load_config({"input_info": {"sample_size": list(SIZE)}, "compression": compression})


def named(*arguments: Any, **keywords: Any) -> tuple[dict[str, int], dict[str, int], list[str]]:
    """Bits by layer, bits by activation point, and ignored names."""
    found = with_layer_names(config(*arguments, **keywords), network()).compression
    precision = found.initializer.precision.model_dump()
    weights = {name: bits for bits, name in precision["bitwidth_per_scope"]}
    activations = {name: bits for bits, name in precision["activation_bitwidth_per_scope"]}
    return weights, activations, found.ignored_scopes


def test_a_layer_is_that_of_the_module_with_its_weights(quantizable: QuantizableModel) -> None:
    modules = ["stem", *(f"blocks.{block}.{name}" for block in (0, 1) for name in ("first", "second"))]
    modules += ["blocks.2.conv", "middle", "up", "head"]
    weights, _, _ = named([[2 + index % 7, f"{{module}}{name}"] for index, name in enumerate(modules)])
    assert weights == {layer.name: 2 + index % 7 for index, layer in enumerate(quantizable.layers)}
    assert not any(name.startswith("__module.blocks.0.first/") for name in weights)


def test_a_module_that_holds_others_stands_for_all_their_layers(quantizable: QuantizableModel) -> None:
    weights, _, _ = named([[3, "{module}blocks.1"], [5, "head"]])
    assert weights == {layer.name: 3 for layer in quantizable.layers[3:5]} | {"head": 5}


def test_an_activation_is_what_a_module_returns(quantizable: QuantizableModel) -> None:
    scopes = {
        "/nncf_model_input_0": 8,
        "stem/conv2d_0": 2,
        "blocks.0.relu/relu__0": 3,
        "blocks.0.second_norm/batch_norm_0": 4,
        "blocks.0.relu/relu__1": 5,
        "blocks.1.relu/relu__1": 6,
        "blocks.2/__add___0": 7,
    }
    _, activations, _ = named((), [[bits, f"{{output}}{scope}"] for scope, bits in scopes.items()])
    found = {
        name: activations[name]
        for name in (point.name for point in quantizable.activation_points)
        if name in activations
    }
    assert sorted(found.values()) == [2, 3, 4, 5, 6, 7, 8]
    by_bits = {bits: name for name, bits in found.items()}
    assert by_bits[8] == "images"
    assert by_bits[3].startswith("__module.blocks.0.relu/") and by_bits[5] == f"{by_bits[3]}_1"
    assert by_bits[7].startswith("__module.blocks.2/aten::add/")


def test_an_activation_that_is_not_quantized_is_told(caplog: pytest.LogCaptureFixture) -> None:
    unknown = ["blocks.0/relu__1", "blocks.0.relu/relu__2", "nowhere/relu_0", "/nncf_model_input_1"]
    with caplog.at_level(logging.WARNING):
        _, activations, _ = named((), [[4, f"{{output}}{scope}"] for scope in [*unknown, "blocks.0.relu/relu__0"]])
    assert list(activations.values()) == [4]
    assert caplog.messages[-1] == (
        "NNCF 2: bitwidth_per_scope: 4 of 5 activations are not quantized here: "
        "blocks.0/relu__1, blocks.0.relu/relu__2, nowhere/relu_0, ..."
    )


def test_ignored_modules_are_layers_and_other_operations(quantizable: QuantizableModel) -> None:
    _, _, ignored = named(ignored=["{module}blocks.1", "head"])
    layers = [layer.name for layer in quantizable.layers]
    assert set(layers[3:5]) < set(ignored)
    assert any("aten::add" in name for name in ignored)
    left = find_layers(quantizable.model, [name for name in ignored if name != "head"])
    assert [layer.name for layer in left.layers] == [*layers[:3], *layers[5:]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"weights": [[4, "{module}blocks.0.tail"]]},
            r"bitwidth_per_scope: found 'blocks\.0\.tail', allowed: a module with weights, e\.g\. blocks\.",
        ),
        ({"ignored": ["{module}tail"]}, r"ignored_scopes: found 'tail', allowed: a module of the network, e\.g\. "),
    ],
)
def test_a_module_that_is_not_there_is_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named(**arguments)


def test_only_a_torch_module_has_modules() -> None:
    found = config([[4, "{module}stem"]])
    assert has_module_scopes(found)
    assert not has_module_scopes(config([[4, "stem"]], ignored=["{re}x"]))
    assert not has_module_scopes(load_config({}))
    with pytest.raises(ConfigError, match="model: found None, allowed: a torch module"):
        with_layer_names(found, convolution_model(SIZE, (4, 3, 3, 3)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of NNCF 2 for the network here."""
    scope = "Network/Sequential[blocks]/Block[1]/NNCFConv2d[second]/conv2d_0|WEIGHT"
    data = {
        "model": f"{__file__}:network",
        "input_info": {"sample_size": list(SIZE)},
        "compression": {
            "algorithm": "quantization",
            "weights": {"bits": 4},
            "initializer": {"precision": {"type": "manual", "bitwidth_per_scope": [[2, scope]]}},
        },
    }
    path = tmp_path / "nncf2.json"
    path.write_text(json.dumps(data))
    return path


def test_a_command_has_the_names_of_the_model(file: Path, quantizable: QuantizableModel) -> None:
    precision = read_job(str(file), None).config.compression.initializer.precision.model_dump()
    assert precision["bitwidth_per_scope"] == [(2, quantizable.layers[4].name)]
    assert precision["default_bits"] == 4


def test_a_file_is_read_without_running_what_it_names(file: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'sprung')!r}).touch()\ndef network(): ...\n")
    model = {"model": f"{trap}:network"}
    assert has_module_scopes(Job.read(file, model).config)
    with pytest.raises(ConfigError, match="--no-code runs no Python"):
        read_job(str(file), [f"model={trap}:network"], no_code=True)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ConfigError, match="model: found"):
        read_job(str(file), [f"model={trap}:network"])
    assert (tmp_path / "sprung").exists()
