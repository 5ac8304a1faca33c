"""Models with several outputs, and classifiers with and without their softmax, from search to result."""

from __future__ import annotations

import functools
import json
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

from nncf_mcq import ConfigError, QuantizationResult, load_config, quantize
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Arrays

SHAPE = (1, 3, 16, 16)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.boxes = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
        self.scores = nn.Sequential(nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 6, 1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.relu(self.stem(images))
        return self.boxes(values), self.scores(values)


def images(count: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(SHAPE).astype(np.float32) for _ in range(count)]


def run(model: torch.nn.Module, precision: dict[str, Any], **arguments: Any) -> QuantizationResult:
    config = {
        "input_info": {"sample_size": list(SHAPE)},
        "runtime": {"threads": 1},
        "compression": {
            "weights": {"bits": [2, 4, 8]},
            "correction": {"sequential": False},
            "initializer": {"precision": precision},
        },
    }
    return quantize(model.eval(), nncf.Dataset(images(12)), config, **arguments)


def outputs_of(model: ov.Model) -> Arrays:
    return ModelRunner.compile(model, 1)([np.concatenate(images(4, seed=1))])


@pytest.mark.parametrize("method", [{"type": "ilp"}, {"type": "ilp", "sensitivity": "fisher"}])
def test_layers_of_every_output_get_bits(method: dict[str, Any]) -> None:
    result = run(TwoHeads(), {**method, "budget": {"weight_size": {"average_bits": 4}}})
    bits = {layer.name: layer.bits or 0 for layer in result.layers}
    assert result.metrics["quantized"]["average_weight_bits"] > 3.5
    heads = [{found for name, found in bits.items() if head in name} for head in ("boxes", "scores")]
    # The last layers are small, and both outputs hang on theirs.
    assert all(max(found) > 2 for found in heads), bits


def test_a_weight_moves_bits_to_its_output() -> None:
    errors: dict[float, list[float]] = {}
    for weight in (1e-3, 1e3):
        result = run(
            TwoHeads(),
            {"type": "ilp", "budget": {"weight_size": {"average_bits": 3.5}}},
            score={"1": (None, weight)},
        )
        pairs = zip(outputs_of(result.model), outputs_of(result.float_model), strict=True)
        errors[weight] = [float(np.square(found - expected).mean() / expected.var()) for found, expected in pairs]
    assert errors[1e3][1] < errors[1e-3][1]
    assert errors[1e3][0] > errors[1e-3][0]


def test_the_report_has_the_ratio_of_every_output() -> None:
    result = run(TwoHeads(), {"type": "uniform", "bits": 8}, report_dataset=nncf.Dataset(images(4, seed=2)))
    found = result.metrics["quantized"]
    # Outputs of a torch module have no names: their numbers stand for them.
    ratios = [found[f"sqnr_db {name}"] for name in ("0", "1")]
    assert found["sqnr_db"] == min(ratios)
    assert all(15 < ratio < 80 for ratio in ratios)


def classifier(*last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(8, 5), *last)
    network.get_parameter("6.weight").data *= 20
    return network


@functools.cache
def divergence(with_softmax: bool) -> tuple[float, float]:
    network = classifier(*([nn.Softmax(1)] if with_softmax else []))
    precision = {"type": "ilp", "budget": {"weight_size": {"average_bits": 3}}}
    result = run(network, precision, report_dataset=nncf.Dataset(images(8, seed=3)))
    assert result.search.score is not None
    return result.metrics["quantized"]["kl"], result.search.score


def test_a_softmax_at_the_end_changes_neither_score_nor_report() -> None:
    assert divergence(True) == pytest.approx(divergence(False), rel=0.02)
    assert min(divergence(True)) > 1e-4


def test_scores_in_a_configuration() -> None:
    config = load_config({"score": {"boxes": "squared_error", "scores": {"weight": 2.0}}})
    assert json.loads(json.dumps(config.to_dict()["score"])) == {
        "boxes": {"type": "squared_error", "weight": 1.0},
        "scores": {"weight": 2.0},
    }
    assert load_config(config.to_dict()) == config
    for wrong, message in (
        ({"score": 3}, "score: found 3, allowed: the name of a score, or an object"),
        ({"score": {"boxes": {"weight": -1}}}, "weight"),
        ({"score": {"boxes": {"factor": 1}}}, "factor"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(wrong)
