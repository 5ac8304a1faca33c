from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import BudgetError, ConfigError, Policy, QuantizationError, QuantizationResult, quantize
from nncf_mcq.model.loading import to_openvino
from tests.models import (
    SAMPLE_SIZE,
    as_dataset,
    concat_model,
    convolution,
    convolution_model,
    make_model,
    operation_types,
    random_constant,
    random_images,
    run,
    shared_weights_model,
    small_config,
    small_network,
    weights_of,
)

IMAGES = random_images(12)
SEQUENTIAL = {"sequential": True}
FILES = {"model.xml", "model.bin", "policy.json", "config.json", "result.json", "histograms.json"}


def config(precision: dict[str, Any], activation_bits: int = 8, **compression: Any) -> dict[str, Any]:
    data = small_config(**precision).to_dict()
    data["compression"]["activations"]["bits"] = activation_bits
    data["compression"] |= compression
    return data


def quantize_small(precision: dict[str, Any], **options: Any) -> QuantizationResult:
    return quantize(small_network(), as_dataset(IMAGES), config(precision), **options)


def outputs(model: ov.Model | Path, images: np.ndarray = IMAGES) -> np.ndarray:
    model = model if isinstance(model, ov.Model) else ov.Core().read_model(model)
    return run(model, images, threads=1, batch_size=1)


PRECISIONS: dict[str, dict[str, Any]] = {
    "uniform": {"type": "uniform", "bits": 5},
    "manual": {"type": "manual", "bitwidth_per_scope": [[3, "{re}(?i)conv"]], "default_bits": 6},
    "ilp": {"type": "ilp", "budget": {"weight_size": {"average_bits": 4}}, "measured_widths": 1},
}


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("framework", ["torch", "openvino"])
def test_a_model_is_quantized_saved_and_runs_as_it_was_scored(
    precision: dict[str, Any], framework: str, tmp_path: Path
) -> None:
    module = small_network()
    model: Any = module if framework == "torch" else to_openvino(module, SAMPLE_SIZE)
    result = quantize(model, as_dataset(IMAGES), config(precision, correction=SEQUENTIAL))
    xml = result.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    np.testing.assert_array_equal(outputs(xml), outputs(result.model))
    expected = outputs(to_openvino(module, SAMPLE_SIZE))
    np.testing.assert_array_equal(outputs(result.float_model), expected)
    error = np.square(outputs(xml) - expected).mean() / expected.var()
    assert error < 0.2
    assert {layer.runtime_precision for layer in result.layers} <= {"i8", "u8"}


def test_the_models_that_are_given_are_not_edited() -> None:
    module = small_network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    quantize(module, as_dataset(IMAGES), config(PRECISIONS["uniform"]))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    model = concat_model()
    description = operation_types(model), weights_of(model)
    quantize(model, as_dataset(IMAGES), config(PRECISIONS["uniform"]))
    assert (operation_types(model), weights_of(model)) == description


def test_the_result_file_tells_what_was_done(tmp_path: Path) -> None:
    result = quantize_small(
        PRECISIONS["ilp"],
        report_dataset=as_dataset(random_images(5, seed=3)),
        evaluate=lambda compiled: {"first": float(compiled(IMAGES[:1])[0][0, 0])},
    )
    result.save(tmp_path)
    data = json.loads((tmp_path / "result.json").read_text())
    assert data == json.loads(json.dumps(result.to_dict()))
    quantized, floating = data["metrics"]["quantized"], data["metrics"]["float"]
    assert {"bin_bytes", "xml_bytes", "average_weight_bits", "agreement", "kl", "first"} <= set(quantized)
    assert {"bin_bytes", "xml_bytes", "first"} <= set(floating)
    assert quantized["bin_bytes"] == (tmp_path / "model.bin").stat().st_size < floating["bin_bytes"]
    assert quantized["xml_bytes"] == (tmp_path / "model.xml").stat().st_size
    assert quantized["average_weight_bits"] <= 4
    assert 0.6 <= quantized["agreement"] <= 1
    assert floating["first"] == pytest.approx(float(outputs(result.float_model)[0, 0]), rel=1e-4)
    assert quantized["first"] != floating["first"]
    assert [layer["name"] for layer in data["layers"]] == list(result.policy.weight_bits)
    for layer in data["layers"]:
        assert layer["bits"] == result.policy.weight_bits[layer["name"]]
        assert layer["rule"] in layer["rule_errors"]
        assert layer["runtime_precision"] in ("i8", "u8")
        assert layer["activation_bits"] == 8
    weights = sum(layer["weights"] for layer in data["layers"])
    bits = sum(layer["weights"] * layer["bits"] for layer in data["layers"])
    assert quantized["average_weight_bits"] == pytest.approx(bits / weights)
    assert sum(layer["size_share"] for layer in data["layers"]) == pytest.approx(1)
    assert sum(layer["mac_share"] for layer in data["layers"]) == pytest.approx(1)
    # Each of four layers at 2 bits, the network at 8 bits, and the policy that was found.
    assert data["search"]["method"] == "ilp"
    assert data["search"]["evaluations"] in (5, 6)
    assert data["search"]["images"] == len(IMAGES)
    assert {"statistics", "weight table", "precision search"} <= set(data["timing"]["seconds"])
    assert all(seconds >= 0 for seconds in data["timing"]["seconds"].values())
    assert data["versions"]["openvino"]
    assert Policy.from_file(tmp_path / "policy.json") == result.policy


def test_a_saved_policy_and_configuration_give_the_identical_model(tmp_path: Path) -> None:
    first = quantize_small(PRECISIONS["ilp"])
    first.save(tmp_path / "first")
    manual = {"type": "manual", "policy": str(tmp_path / "first" / "policy.json")}
    again = quantize_small(manual)
    again.save(tmp_path / "again")
    assert again.policy == first.policy
    np.testing.assert_array_equal(outputs(again.model), outputs(first.model))
    assert (tmp_path / "again/model.bin").read_bytes() == (tmp_path / "first/model.bin").read_bytes()
    repeated = quantize(small_network(), as_dataset(IMAGES), tmp_path / "first" / "config.json")
    assert repeated.policy == first.policy
    assert repeated.config == first.config
    assert repeated.search.score == first.search.score


def test_a_budget_in_bytes_is_kept_by_the_written_file(tmp_path: Path) -> None:
    sizes = {}
    for bits in (2, 8):
        quantize_small({"type": "uniform", "bits": bits}).save(tmp_path / str(bits))
        sizes[bits] = (tmp_path / str(bits) / "model.bin").stat().st_size
    limit = (sizes[2] + sizes[8]) // 2
    budget = {"weight_size": {"bytes": limit}}
    result = quantize_small({"type": "ilp", "budget": budget, "measured_widths": 1})
    result.save(tmp_path / "ilp")
    written = (tmp_path / "ilp" / "model.bin").stat().st_size
    assert 0.7 * limit < written <= limit
    with pytest.raises(
        BudgetError, match=r"precision.budget.weight_size.bytes: found 10 bytes of the .bin, which no policy meets"
    ):
        quantize_small({"type": "ilp", "budget": {"weight_size": {"bytes": 10}}})


@pytest.mark.parametrize("activation_bits", [4, 8])
@pytest.mark.parametrize("build", [concat_model, shared_weights_model, small_network])
def test_concat_residual_and_shared_weights_are_exact_in_the_file(
    build: Callable[[], Any], activation_bits: int, tmp_path: Path
) -> None:
    model = build()
    sample = (1, 4, 6, 6) if build is shared_weights_model else SAMPLE_SIZE
    images = random_images(8, sample)
    settings = config({"type": "uniform", "bits": 4}, activation_bits, correction=SEQUENTIAL)
    settings["input_info"]["sample_size"] = list(sample)
    result = quantize(model, as_dataset(images), settings)
    xml = result.save(tmp_path)
    np.testing.assert_array_equal(outputs(xml, images), outputs(result.model, images))
    assert set(result.policy.activation_bits.values()) == {activation_bits}
    expected = outputs(result.float_model, images)
    error = np.square(outputs(xml, images) - expected).mean() / np.square(expected).mean()
    assert error < (0.02 if activation_bits == 8 else 0.1)


def tied(data: ov.Node) -> ov.Node:
    weights = random_constant(6, 10, name="tied")
    encoded = opset.relu(opset.matmul(data, weights, False, True, name="encoder"))
    return opset.matmul(encoded, weights, False, False, name="decoder")


def depthwise_1d(data: ov.Node) -> ov.Node:
    values = opset.relu(convolution(data, random_constant(4, 4, 3), "first", pad=1))
    return convolution(values, random_constant(4, 1, 1, 3), "depthwise", pad=1, grouped=True)


def half_precision(data: ov.Node) -> ov.Node:
    weights = opset.convert(opset.constant(random_constant(8, 3, 1, 1).get_data().astype(np.float16)), "f32")
    bias = opset.convert(opset.constant(random_constant(1, 8, 1, 1, seed=1).get_data().astype(np.float16)), "f32")
    return opset.relu(opset.add(convolution(data, weights, "layer"), bias))


def addition_along_the_width(data: ov.Node) -> ov.Node:
    values = convolution(data, random_constant(8, 3, 1, 1), "layer")
    return opset.add(values, random_constant(1, 1, 1, 8, seed=1))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (tied, (1, 10)),
        (depthwise_1d, (1, 4, 16)),
        (half_precision, SAMPLE_SIZE),
        (addition_along_the_width, SAMPLE_SIZE),
    ],
    ids=["one constant in two layouts", "1-d depthwise", "half precision", "an addition that is no bias"],
)
def test_unusual_models_are_quantized_too(build: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    images = random_images(8, shape) + 0.5
    settings = config({"type": "uniform", "bits": 6})
    settings["compression"]["activations"]["per_channel"] = True
    del settings["input_info"]
    result = quantize(make_model(build, shape), as_dataset(images), settings)
    xml = result.save(tmp_path)
    expected = outputs(result.float_model, images)
    assert np.square(outputs(xml, images) - expected).mean() < 0.01 * np.square(expected).mean()


def test_a_compressed_bias_is_corrected_in_place() -> None:
    model = make_model(half_precision, SAMPLE_SIZE)
    additions = sum(operation.get_type_name() == "Add" for operation in model.get_ops())
    result = quantize(model, as_dataset(IMAGES), {"compression": {"initializer": {"precision": "uniform"}}})
    assert sum(operation.get_type_name() == "Add" for operation in result.model.get_ops()) == additions


def test_the_default_is_uniform_eight_bits() -> None:
    result = quantize(convolution_model(SAMPLE_SIZE, (4, 3, 3, 3)), as_dataset(IMAGES))
    assert result.policy == Policy({"layer": 8}, {"image": 8})
    assert result.metrics["quantized"]["average_weight_bits"] == 8


def test_ignored_scopes_stay_in_float(tmp_path: Path) -> None:
    model = concat_model()
    result = quantize(model, as_dataset(IMAGES), config(PRECISIONS["uniform"], ignored_scopes=["last"]))
    assert set(result.policy.weight_bits) == {"left", "right"}
    result.save(tmp_path)


def test_search_images_and_score_are_the_callers() -> None:
    search = random_images(3, seed=9)
    seen = []

    def score(found: np.ndarray, reference: np.ndarray) -> float:
        seen.append(reference)
        return 1.5

    result = quantize_small(PRECISIONS["ilp"], search_dataset=as_dataset(search), score=score)
    assert result.search.score == 1.5
    assert result.search.images == 3
    # The last calls are the jackknife's, without some of the images.
    whole = [values for values in seen if len(values) == len(search)]
    np.testing.assert_allclose(whole[-1], outputs(result.float_model, search), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch", "items"), [(1, 12), (5, 3)])
def test_only_the_first_images_are_used_for_calibration(batch: int, items: int) -> None:
    read: list[int] = []

    def load(index: int) -> np.ndarray:
        read.append(index)
        return IMAGES[:batch]

    result = quantize(small_network(), nncf.Dataset(list(range(50)), load), config(PRECISIONS["uniform"]))
    assert read == list(range(items))
    assert len(result.verification_images) == 12


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "the data set is empty"),
        (
            [np.zeros((1, 3, 9, 8), np.float32)],
            r"item 0 of the data set: found shape \(1, 3, 9, 8\), allowed: \(batch, 3, 8, 8\)",
        ),
        ([IMAGES[:1], np.zeros((3, 8, 8), np.float32)], r"item 1 of the data set: found shape \(3, 8, 8\)"),
        ([(IMAGES[:1], 3)], "item 0 of the data set: found 2 values, allowed: the one input of the model"),
        ([np.full((1, 3, 8, 8), np.nan, np.float32)], "is not finite"),
    ],
)
def test_images_that_cannot_be_used_are_an_error(items: list[Any], message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        quantize(small_network(), nncf.Dataset(items), config(PRECISIONS["uniform"]))


def test_a_model_of_two_inputs_or_an_unknown_shape_is_an_error() -> None:
    parameters = [opset.parameter([1, 3, 8, 8], ov.Type.f32) for _ in range(2)]
    two = ov.Model([opset.add(*parameters)], parameters, "two")
    with pytest.raises(QuantizationError, match="found 1 values, allowed: the 2 inputs of the model"):
        quantize(two, as_dataset(IMAGES))
    with pytest.raises(ConfigError, match=r"input_info\.sample_size: found None"):
        quantize(small_network(), as_dataset(IMAGES))


class Recorder:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.updates: dict[str, list[tuple[int, int]]] = {}

    def start(self, stage: str, total: int) -> None:
        self.stages.append(stage)

    def update(self, done: int, total: int) -> None:
        self.updates.setdefault(self.stages[-1], []).append((done, total))

    def finish(self) -> None:
        self.stages.append(f"{self.stages[-1]} is done")


def test_progress_is_reported_stage_by_stage() -> None:
    recorder = Recorder()
    quantize_small(PRECISIONS["ilp"], progress=recorder)
    assert recorder.updates["statistics"] == [(count, 12) for count in range(1, 13)]
    for half in ("statistics for search", "statistics for search, other half"):
        assert recorder.updates[half] == [(count, 6) for count in range(1, 7)]
    assert recorder.updates["weight table"] == [(count, 4) for count in range(1, 5)]
    assert recorder.updates["precision search"][-1] == (5, 5)
    assert recorder.stages[1::2] == [f"{stage} is done" for stage in recorder.stages[::2]]


@pytest.mark.parametrize(
    ("precision", "budget", "message"),
    [
        ("ilp", {"weight_size": {"average_bits": 1.9}}, "found 1.9 bits, which no policy meets; reachable: 2 to 8"),
        ("optuna", {"bops": {"ratio": 0.01}}, "found 0.01 of INT8, which no policy meets; reachable: "),
        (
            "greedy",
            {"weight_size": {"bytes": 97}},
            "found 97 bytes of the .bin, which no policy meets; reachable: 98 to 392 bytes of the .bin, "
            "without scales, biases and float constants",
        ),
    ],
)
def test_a_budget_out_of_reach_is_an_error_before_anything_is_computed(
    precision: str, budget: dict[str, Any], message: str
) -> None:
    recorder = Recorder()
    with pytest.raises(BudgetError, match=re.escape(message)):
        quantize_small({"type": precision, "budget": budget}, progress=recorder)
    assert recorder.stages == ["layers", "layers is done"]


def test_a_budget_in_bytes_that_only_the_built_model_tells_to_be_out_of_reach_is_an_error_too() -> None:
    recorder = Recorder()
    with pytest.raises(BudgetError, match=r"found 99 bytes of the .bin, which no policy meets; reachable: \d+ to "):
        quantize_small({"type": "ilp", "budget": {"weight_size": {"bytes": 99}}}, progress=recorder)
    assert recorder.stages[-2:] == ["precision search", "precision search is done"]
    assert "sensitivity" not in recorder.updates
