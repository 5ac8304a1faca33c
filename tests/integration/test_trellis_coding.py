"""Models of trellis-coded weights, from the configuration to the file."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq import QuantizationResult, finish_training, prepare_training, quantize
from nncf_mcq.ir.packing import unpack_weight
from nncf_mcq.model.nodes import operations_by_name, source
from nncf_mcq.training.completion import trained_model, trained_table
from nncf_mcq.training.module import QuantizedNetwork, parts
from nncf_mcq.training.preparation import make_module
from nncf_mcq.training.quantizers import LayerWeights
from nncf_mcq.weights.trellis import alphabet
from tests.models import (
    SAMPLE_SIZE,
    as_dataset,
    concat_model,
    random_images,
    run,
    shared_weights_model,
    small_config,
)

IMAGES = random_images(12)
CODED = (1, 3)
"""Places of the layers that can be coded."""

ILP = {"type": "ilp", "budget": {"weight_size": {"average_bits": 3}}, "measured_widths": 1}


def network() -> torch.nn.Module:
    """Two layers that can be coded, of 9,216 and 4,096 weights, and four that cannot."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 32, 3, 2, 1), torch.nn.ReLU()),
        *(torch.nn.Conv2d(32, 32, 3, 1, 1), torch.nn.ReLU()),
        *(torch.nn.Conv2d(32, 32, 3, 1, 1, groups=32), torch.nn.ReLU()),
        *(torch.nn.Conv2d(32, 128, 1), torch.nn.ReLU()),
        *(torch.nn.Conv2d(128, 16, 1, 1), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 10)),
    )
    for layer in module[:-1]:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return module.eval()


def config(precision: dict[str, Any], coding: str = "trellis", *, sequential: bool = False) -> dict[str, Any]:
    data = small_config(**precision).to_dict()
    data["compression"]["weights"] = {"coding": coding, "bits": [2, 3, 4, 8]}
    data["compression"]["correction"] = {"sequential": sequential}
    return data


def quantize_small(precision: dict[str, Any], coding: str = "trellis") -> QuantizationResult:
    """The same result for equal arguments."""
    return _quantized(json.dumps(precision), coding)


@functools.cache
def _quantized(precision: str, coding: str) -> QuantizationResult:
    return quantize(network(), as_dataset(IMAGES), config(json.loads(precision), coding))


def outputs(model: ov.Model | Path, images: np.ndarray = IMAGES) -> np.ndarray:
    model = model if isinstance(model, ov.Model) else ov.Core().read_model(model)
    return run(model, images, threads=1, batch_size=1)


@pytest.mark.parametrize("precision", [{"type": "uniform", "bits": 3}, ILP], ids=["uniform", "ilp"])
def test_a_model_is_exact_in_the_file_and_runs_on_integers(precision: dict[str, Any], tmp_path: Path) -> None:
    result = quantize(network(), as_dataset(IMAGES), config(precision, sequential=True))
    xml = result.save(tmp_path)
    np.testing.assert_array_equal(outputs(xml), outputs(result.model))
    assert tuple(place for place, layer in enumerate(result.layers) if layer.rule == "trellis") == CODED
    assert {layer.runtime_precision for layer in result.layers} <= {"i8", "u8"}


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_same_bits_lose_less(bits: int, tmp_path: Path) -> None:
    errors, sizes = {}, {}
    for coding in ("uniform", "trellis"):
        result = quantize_small({"type": "uniform", "bits": bits}, coding)
        result.save(tmp_path / coding)
        # Of the weights: by chance the outputs of so small a network may lose less or more with either.
        found = [result.layers[place].relative_error for place in CODED]
        errors[coding] = sum(error for error in found if error)
        sizes[coding] = (tmp_path / coding / "model.bin").stat().st_size
    assert errors["trellis"] < 0.8 * errors["uniform"]
    # A small network: the table of subsets, 512 bytes, weighs more than elsewhere.
    assert sizes["trellis"] < sizes["uniform"] + 800


@pytest.mark.parametrize("build", [concat_model, shared_weights_model])
def test_shared_weights_and_concatenations(build: Callable[[], Any], tmp_path: Path) -> None:
    sample = (1, 4, 6, 6) if build is shared_weights_model else SAMPLE_SIZE
    images = random_images(8, sample)
    settings = config({"type": "uniform", "bits": 4})
    settings["input_info"]["sample_size"] = list(sample)
    result = quantize(build(), as_dataset(images), settings)
    np.testing.assert_array_equal(outputs(result.save(tmp_path), images), outputs(result.model, images))


def test_its_configuration_gives_the_identical_model_again(tmp_path: Path) -> None:
    quantize_small(ILP).save(tmp_path / "first")
    quantize(network(), as_dataset(IMAGES), tmp_path / "first" / "config.json").save(tmp_path / "again")
    assert (tmp_path / "again/model.bin").read_bytes() == (tmp_path / "first/model.bin").read_bytes()


@pytest.mark.parametrize("share", [0.3])
def test_a_budget_in_bytes_is_kept_by_the_written_file(share: float, tmp_path: Path) -> None:
    sizes = {}
    for bits in (2, 8):
        quantize_small({"type": "uniform", "bits": bits}).save(tmp_path / str(bits))
        sizes[bits] = (tmp_path / str(bits) / "model.bin").stat().st_size
    limit = int(sizes[2] + share * (sizes[8] - sizes[2]))
    result = quantize_small({"type": "ilp", "budget": {"weight_size": {"bytes": limit}}, "measured_widths": 1})
    result.save(tmp_path / "ilp")
    assert 0.6 * limit < (tmp_path / "ilp" / "model.bin").stat().st_size <= limit


@pytest.mark.parametrize("sequential", [False, True])
def test_a_training_starts_on_grids_of_the_same_bits(sequential: bool, tmp_path: Path) -> None:
    settings = config({"type": "uniform", "bits": 3}, sequential=sequential)
    result = quantize(network(), as_dataset(IMAGES), settings)
    module = prepare_training(result)
    assert result.model_on_grids is not None
    with torch.no_grad():
        found = module(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(found, outputs(result.model_on_grids), atol=1e-4 * float(np.abs(found).max()))
    expected = outputs(result.float_model)
    assert float(np.square(found - expected).mean()) < 0.05 * float(expected.var())
    trained = finish_training(module)
    assert trained.config.compression.weights.coding == "uniform"
    np.testing.assert_array_equal(outputs(trained.save(tmp_path)), outputs(trained.model))
    again = prepare_training(trained)
    with torch.no_grad():
        np.testing.assert_array_equal(again(torch.from_numpy(IMAGES)).numpy(), found)


def test_tuning_trains_scales_and_biases_of_a_code_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kept whatever it gains.
    monkeypatch.setattr("nncf_mcq.training.tuning.stage.STANDARD_ERRORS", -1e9)
    settings, images = config({"type": "uniform", "bits": 2}), as_dataset(random_images(24))
    # The same images make the weights of both.
    settings["compression"]["initializer"]["num_init_samples"] = 16
    before = quantize(network(), images, settings)
    settings["compression"]["tuning"] = {"type": "distillation", "steps": 2, "batch_size": 16}
    after = quantize(network(), images, settings)
    assert after.search.tuning is not None and after.search.tuning.kept
    read = ov.Core().read_model(after.save(tmp_path))
    np.testing.assert_array_equal(outputs(read), outputs(after.model))
    for place in CODED:
        name = after.layers[place].name
        first, second = (unpack_weight(source(operations_by_name(model)[name], 1)) for model in (before.model, read))
        assert first is not None and second is not None and first.coding == second.coding == "trellis"
        np.testing.assert_array_equal(first.levels, second.levels)
        assert not np.array_equal(first.scale, second.scale)
    # Fine-tuning starts on grids, with what the policy's table holds.
    assert after.model_on_grids is not None


@pytest.mark.parametrize("is_changed", [False, True])
def test_what_is_trained_computes_what_the_model_does(is_changed: bool) -> None:
    result = quantize_small({"type": "uniform", "bits": 3})
    network_of_result = QuantizedNetwork.of(dataclasses.replace(result, model_on_grids=None))
    module = make_module(network_of_result)
    images = torch.from_numpy(IMAGES)
    with torch.no_grad():
        if is_changed:
            for part in parts(module.quantized, LayerWeights):
                part.step.log_ratio.add_(0.1)
        found = module(images).numpy()
    table = trained_table(module)
    for place in CODED:
        entry = table[result.layers[place].name, 3]
        largest = float(alphabet(3)[-1]) * entry.scale.reshape(-1)
        np.testing.assert_allclose(np.stack([entry.clip.low, entry.clip.high]).reshape(2, -1), [-largest, largest])
    expected = outputs(trained_model(module, table))
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(np.abs(expected).max()))
    assert np.array_equal(expected, outputs(result.model)) != is_changed


@pytest.mark.parametrize(
    ("fewest", "changes", "is_coded"),
    [
        (13_312, {}, True),
        (13_313, {}, False),
        (0, {"weights": {"fully_connected": "packed"}}, False),
    ],
    ids=["large", "small", "packed"],
)
def test_weights_of_large_models_are_coded_where_nothing_is_said(
    fewest: int, changes: dict[str, Any], is_coded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nncf_mcq.weights.trellis.FEWEST_WEIGHTS_OF_MODEL", fewest)
    settings = small_config(type="uniform", bits=4).to_dict()
    settings["compression"] |= changes
    result = quantize(network(), as_dataset(random_images(20)), settings)
    assert result.config.compression.weights.coding == "automatic"
    assert (result.model_on_grids is not None) == is_coded
    assert ("trellis" in {layer.rule for layer in result.layers}) == is_coded


def test_grids_need_no_other_model() -> None:
    assert quantize_small({"type": "uniform", "bits": 4}, "uniform").model_on_grids is None


def test_layers_of_eight_bits_need_no_other_model_where_the_search_saw_coded_ones() -> None:
    precision = {"type": "ilp", "budget": {"weight_size": {"average_bits": 8}}, "measured_widths": 1}
    # With images of its own, the search's table is the final one, and holds all bit-widths.
    search = as_dataset(random_images(8, seed=1))
    result = quantize(network(), as_dataset(IMAGES), config(precision), search_dataset=search)
    assert set(result.policy.weight_bits.values()) == {8}
    assert result.model_on_grids is None
