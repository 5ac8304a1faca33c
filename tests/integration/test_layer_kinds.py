"""Every kind of layer that NNCF quantizes: int8 in the saved file wherever NNCF's is, low bits, and not larger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset
from torch import nn

from nncf_mcq import quantize
from nncf_mcq.config.output_files import LayerResult
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.model.algorithm import quiet_nncf
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.policy import INT8_PRECISIONS
from nncf_mcq.result import QuantizationResult
from tests.models import as_dataset, embedding_model, make_model, random_constant, random_images
from tests.recurrent import STATES, recurrent_model

Shape = tuple[int, ...]
IMAGES = 8


def torch_model(shape: Shape, *layers: nn.Module) -> ov.Model:
    torch.manual_seed(0)
    with torch.no_grad():
        network = nn.Sequential(*layers).eval()
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    return to_openvino(network, shape)


def batch_of_matrices() -> ov.Model:
    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(opset.matmul(data, random_constant(3, 32, 24), False, False, name="first"))
        return opset.matmul(values, random_constant(1, 3, 16, 24, seed=1), False, True, name="second")

    return make_model(build, (1, 3, 10, 32))


def transposed(
    dimensions: int, *, output_padding: int = 0, groups: int = 1, dilation: int = 1
) -> Callable[[], ov.Model]:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1](
        8, 16, 3, 2, 1, output_padding=output_padding, groups=groups, dilation=dilation
    )
    shape = (1, 3, *(6 for _ in range(dimensions)))
    parts = (convolution(3, 8, 3, 1, 1), nn.ReLU(), layer, nn.ReLU(), convolution(16, 4, 1))
    return lambda: torch_model(shape, *parts)


def three_dimensional() -> ov.Model:
    layers = (nn.Conv3d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv3d(16, 16, 3, 1, 1, groups=4), nn.ReLU())
    return torch_model((1, 3, 6, 8, 8), *layers, nn.Conv3d(16, 16, 3, 1, 1, groups=16), nn.ReLU(), nn.Conv3d(16, 8, 1))


def one_dimensional() -> ov.Model:
    layers = (nn.Conv1d(3, 16, 5, 2), nn.ReLU(), nn.Conv1d(16, 16, 3, 1, 2, dilation=2, groups=2), nn.ReLU())
    return torch_model((1, 3, 40), *layers, nn.Conv1d(16, 8, 1))


MODELS: dict[str, Callable[[], ov.Model]] = {
    "transposed 1-D": transposed(1),
    "transposed 2-D, output padding": transposed(2, output_padding=1),
    "transposed 2-D, dilated": transposed(2, dilation=2),
    "transposed 3-D": transposed(3),
    "transposed, grouped": transposed(2, groups=4),
    "transposed, depthwise": transposed(2, groups=8),
    "3-D": three_dimensional,
    "1-D": one_dimensional,
    "batch of matrices": batch_of_matrices,
    "LSTM": lambda: recurrent_model("lstm"),
    "LSTM, both directions": lambda: recurrent_model("lstm", "bidirectional"),
    "GRU": lambda: recurrent_model("gru", "reverse"),
    "embedding": lambda: embedding_model(layer="last"),
}


def images_of(model: ov.Model, seed: int = 0) -> np.ndarray:
    shape = tuple(model.input(0).shape)
    if any(node.get_type_name() == "Gather" for node in model.get_ops()):
        return np.random.default_rng(seed).integers(0, 7, (IMAGES, *shape[1:])).astype(np.float32)
    return random_images(IMAGES, shape, seed=seed)


def quantized(model: ov.Model, bits: int, directory: Path) -> QuantizationResult:
    config = {
        "compression": {
            # At one of the widths: the pass does not know of them.
            "correction": {"sequential": bits == 3},
            "initializer": {"precision": {"type": "uniform", "bits": bits}},
        },
        "runtime": {"threads": 1, "batch_size": 1},
    }
    result = quantize(model, as_dataset(images_of(model)), config)
    result.save(directory)
    return result


def error(model: ov.Model, file: Path) -> float:
    """Squared error on other images, relative to the outputs."""
    images = images_of(model, seed=1)
    runs = [compile_model(item, 1) for item in (model, ov.Core().read_model(file))]
    expected, found = (np.stack([np.array(run([image[None]])[0]) for image in images]) for run in runs)
    return float(np.square(found - expected).sum() / np.square(expected).sum())


def integer_layers(file: Path) -> set[str]:
    model = ov.Core().read_model(file)
    precisions = runtime_precisions(compile_model(model, 1), model)
    return {name for name, precision in precisions.items() if precision in INT8_PRECISIONS}


@pytest.mark.parametrize("kind", MODELS)
def test_at_eight_bits_no_fewer_layers_run_in_int8_than_with_nncf(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    result = quantized(model, 8, tmp_path)
    with quiet_nncf():
        baseline = nncf.quantize(model.clone(), as_dataset(images_of(model)), subset_size=IMAGES)
    ov.save_model(baseline, tmp_path / "nncf.xml")
    found = integer_layers(tmp_path / "model.xml")
    assert found >= integer_layers(tmp_path / "nncf.xml")
    assert found == {layer.name for layer in result.layers if layer.integer_kernel}
    ours, theirs = ((tmp_path / name).stat().st_size for name in ("model.bin", "nncf.bin"))
    # Scales of each entry of an embedding, and of each direction, and biases where there were none.
    more = {"embedding": 7, "batch of matrices": 3 * 24 + 3 * 16, "LSTM, both directions": 4 * STATES}
    assert ours <= 1.02 * theirs + 4 * more.get(kind, 0)
    assert result.metrics["quantized"]["average_weight_bits"] == 8
    assert not result.float_weights
    # The int8 kernel of a recurrent layer quantizes its hidden states too.
    assert error(model, tmp_path / "model.xml") < (0.02 if kind.startswith(("LSTM", "GRU")) else 0.002)


LIKE_OTHERS = ("transposed 1-D", "transposed 2-D, dilated", "transposed 3-D", "LSTM, both directions")
"""Kinds whose weights are packed as those of another kind: eight bits tell their shapes."""


@pytest.mark.parametrize("bits", [3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in LIKE_OTHERS else []) for kind in MODELS]
)
def test_at_low_bits_the_same_layers_run_in_int8(kind: str, bits: int, tmp_path: Path) -> None:
    model = MODELS[kind]()
    result = quantized(model, bits, tmp_path)
    assert integer_layers(tmp_path / "model.xml") == {layer.name for layer in result.layers if layer.integer_kernel}

    def expected(layer: LayerResult) -> int:
        return 8 if layer.kind == "embedding" else bits

    assert [layer.bits for layer in result.layers] == [expected(layer) for layer in result.layers]
    weights = sum(layer.weights or 0 for layer in result.layers)
    average = sum((layer.weights or 0) * expected(layer) for layer in result.layers) / weights
    assert result.metrics["quantized"]["average_weight_bits"] == pytest.approx(average)
    packed = sum((layer.weights or 0) * (layer.bits or 0) / 8 for layer in result.layers)
    channels = sum(max(layer.weight_shape or (0,)) * 4 for layer in result.layers)
    assert (tmp_path / "model.bin").stat().st_size < packed + 3 * channels + 1000
    assert error(model, tmp_path / "model.xml") < {3: 0.15, 5: 0.02}[bits]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("weight", [0.25, 4.0])
def test_a_recurrent_layer_behind_a_relu_and_with_unequal_weights(kind: str, weight: float, tmp_path: Path) -> None:
    """The kernel has one grid for inputs and states, and one scale for both weights: NNCF has them wrong here."""
    model = recurrent_model(kind, weight=weight, relu=True)
    quantized(model, 8, tmp_path)
    assert integer_layers(tmp_path / "model.xml") == {"layer"}
    assert error(model, tmp_path / "model.xml") < 0.05
    with quiet_nncf():
        baseline = nncf.quantize(model.clone(), as_dataset(images_of(model)), subset_size=IMAGES)
    ov.save_model(baseline, tmp_path / "nncf.xml")
    if integer_layers(tmp_path / "nncf.xml"):
        assert error(model, tmp_path / "model.xml") < error(model, tmp_path / "nncf.xml")
