from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

import nncf_mcq.weights.input_shift
from nncf_mcq.calibration.shrinkage import shrink_cross_covariance
from nncf_mcq.model.cut_values import find_cut_values, passes_a_quantizer
from nncf_mcq.model.layers import find_layers, weight_matrices
from nncf_mcq.model.nodes import operations_by_name, replace_constant
from nncf_mcq.model.samples import AnySamples, as_samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import Policy
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.utils.torch_threads import TorchPool
from nncf_mcq.weights.input_shift import Network, observe_shift
from nncf_mcq.weights.weight_table import WeightTable
from tests.models import (
    convolution,
    random_constant,
    random_images,
    run,
    shared_weights_model,
    small_calibrated_model,
    small_config,
)

STAGES = Stages(SilentProgress())


def uniform(calibrated: CalibratedModel, bits: int) -> Policy:
    return Policy({layer.name: bits for layer in calibrated.quantizable.layers}, calibrated.activation_bits)


@cache
def two_bits() -> tuple[CalibratedModel, Policy, WeightTable, WeightTable]:
    """The small network at 2 bits: its table before and after the pass."""
    calibrated, table = small_calibrated_model()
    policy = uniform(calibrated, 2)
    return calibrated, policy, table, calibrated.requantize_sequentially(policy, table, STAGES)


def networks(float_model: ov.Model, quantized_model: ov.Model, images: AnySamples) -> list[Network]:
    return [Network(model, as_samples(images)) for model in (float_model, quantized_model)]


def inputs_of(model: ov.Model, name: str, port: int, images: np.ndarray) -> np.ndarray:
    copy = model.clone()
    value = operations_by_name(copy)[name].input_value(port)
    return run(ov.Model([ov.opset13.result(value)], copy.get_parameters()), images, threads=1, batch_size=1)


def test_the_shift_tells_both_means_and_the_moments_of_what_the_layer_gets() -> None:
    calibrated, policy, table, _ = two_bits()
    layer = next(layer for layer in calibrated.quantizable.layers if layer.kind == "matmul")
    float_model, quantized_model = calibrated.quantizable.model, calibrated.build(policy, table)
    images = random_images(11)  # Neither a multiple of the batch nor of the pieces.
    with TorchPool(2) as pool:
        shift = observe_shift(layer, networks(float_model, quantized_model, images), pool, 2).shift
    x, quantized = (
        inputs_of(model, layer.name, layer.data_port, images).reshape(len(images), -1).astype(np.float64)
        for model in (float_model, quantized_model)
    )
    assert np.abs(x - quantized).max() > 1e-2
    np.testing.assert_allclose(shift.float_mean[0], x.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(shift.quantized.mean[0], quantized.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(shift.quantized.variance[0], quantized.var(axis=0), atol=1e-4)
    centred, difference = quantized - quantized.mean(axis=0), (x - quantized) - (x - quantized).mean(axis=0)
    np.testing.assert_allclose(np.diag(shift.cross[0]), (difference * centred).mean(axis=0), atol=1e-4)
    # Correlations of eleven samples are shrunk, those of the difference by a factor of their own.
    assert shift.quantized.covariance is not None
    above = np.triu_indices(layer.columns, 1)
    for found, first in ((shift.quantized.covariance, centred), (shift.cross, difference)):
        sampled = (first.T @ centred / len(images))[above]
        factor = (found[0].numpy()[above] @ sampled) / (sampled @ sampled)
        assert 0 <= factor < 1
        np.testing.assert_allclose(found[0].numpy()[above], factor * sampled, atol=1e-4)


def test_the_covariance_of_independent_vectors_is_shrunk_to_its_diagonal_and_a_clear_one_is_kept() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 50, 40))
    clear = second @ generator.normal(size=(40, 40))
    kept = []
    for values in (first, clear):
        centred, other = values - values.mean(axis=0), second - second.mean(axis=0)
        cross = torch.from_numpy(centred.T @ other / 50)[None]
        variance, own = (torch.from_numpy(item.var(axis=0))[None] for item in (values, second))
        found = shrink_cross_covariance(cross, variance, own, 50)
        torch.testing.assert_close(torch.diagonal(found, dim1=1, dim2=2), torch.diagonal(cross, dim1=1, dim2=2))
        kept.append(float(found[0, 0, 1] / cross[0, 0, 1]))
    assert kept[0] < 0.1
    assert 0.4 < kept[1] < 1


def test_positions_of_convolutions_are_the_same_in_both_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncf_mcq.calibration.unfolding.POSITIONS_PER_IMAGE", 5)
    monkeypatch.setattr("nncf_mcq.calibration.unfolding.SMALLEST_POSITIONS_PER_IMAGE", 5)
    calibrated, _, _, _ = two_bits()
    layer = next(layer for layer in calibrated.quantizable.layers if layer.kind == "depthwise_convolution")
    model = calibrated.quantizable.model
    with TorchPool(1) as pool:
        shift = observe_shift(layer, networks(model, model, random_images(9)), pool, 1).shift
    # Against itself there is no difference, whatever positions are sampled.
    assert float(shift.cross.abs().max()) == 0
    torch.testing.assert_close(shift.float_mean, shift.quantized.mean)


def test_halves_tell_what_each_half_of_the_images_does() -> None:
    calibrated, policy, table, _ = two_bits()
    layer = calibrated.quantizable.layers[1]
    models, images = (calibrated.quantizable.model, calibrated.build(policy, table)), random_images(11)
    with TorchPool(2) as pool:
        halves = observe_shift(layer, networks(*models, images), pool, 2).halves
        # Two of the four pieces each, of which the last has three images.
        for half, part in zip(halves, (images[:5], images[5:]), strict=True):
            found = observe_shift(layer, networks(*models, part), pool, 2).shift
            torch.testing.assert_close(half.shrunk().cross, found.cross, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(half.shrunk().quantized.covariance, found.quantized.covariance)
        assert observe_shift(layer, networks(*models, images[:1]), pool, 2).halves == ()


def residual_network() -> ov.Model:
    """stem + branch -> last, the branch without an activation function."""
    data = opset.parameter([1, 3, 8, 8], np.float32, name="data")
    stem = opset.relu(convolution(data, random_constant(8, 3, 3, 3), "stem"))
    inner = opset.relu(convolution(stem, random_constant(16, 8, 1, 1, seed=1), "inner"))
    branch = convolution(inner, random_constant(8, 16, 1, 1, seed=2), "branch")
    joined = opset.add(stem, opset.add(branch, random_constant(1, 8, 1, 1, seed=3)), name="joined")
    return ov.Model([opset.result(convolution(joined, random_constant(4, 8, 1, 1, seed=4), "last"))], [data], "net")


def test_the_shift_of_a_residual_is_that_of_the_value_added_at_the_positions_of_the_inputs() -> None:
    model, other, images = residual_network(), residual_network(), random_images(7, (1, 3, 8, 8))
    (layer,) = [layer for layer in find_layers(model).layers if layer.name == "branch"]
    replace_constant(operations_by_name(other)["stem"], 1, random_constant(8, 3, 3, 3, seed=9).data)
    with TorchPool(1) as pool:
        shift = observe_shift(layer, networks(model, other, images), pool, 1).shift
    (first, _), (second, inputs) = (
        (
            np.moveaxis(inputs_of(item, "joined", 0, images), 1, -1).reshape(-1, 8).astype(np.float64),
            np.moveaxis(inputs_of(item, "branch", 0, images), 1, -1).reshape(-1, 16).astype(np.float64),
        )
        for item in (model, other)
    )
    assert shift.residual is not None
    difference = first - second
    np.testing.assert_allclose(shift.residual.mean[0], difference.mean(axis=0), atol=1e-4)
    sampled = (difference - difference.mean(axis=0)).T @ (inputs - inputs.mean(axis=0)) / len(inputs)
    factor = float((shift.residual.cross[0].numpy() * sampled).sum() / np.square(sampled).sum())
    assert 0.5 < factor < 1  # Shrunk as a whole.
    np.testing.assert_allclose(shift.residual.cross[0], factor * sampled, atol=1e-4)


def two_branches() -> ov.Model:
    """first + second -> last, both of the same input."""
    data = opset.parameter([1, 3, 8, 8], np.float32, name="data")
    value = opset.relu(data)
    first = convolution(value, random_constant(8, 3, 1, 1), "first")
    second = convolution(value, random_constant(8, 3, 1, 1, seed=1), "second")
    joined = opset.relu(opset.add(first, second))
    return ov.Model([opset.result(convolution(joined, random_constant(4, 8, 1, 1, seed=2), "last"))], [data], "net")


def test_a_layer_makes_good_for_what_the_other_term_of_a_sum_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    config, images, others = small_config(), random_images(24, (1, 3, 8, 8)), random_images(24, (1, 3, 8, 8), seed=5)
    calibrated = CalibratedModel.prepare(two_branches(), images, config.compression, 1, STAGES)
    table = calibrated.weight_table((2, 8), STAGES)
    policy = Policy({"first": 2, "second": 8, "last": 8}, calibrated.activation_bits)
    expected = run(calibrated.quantizable.model, others, threads=1, batch_size=8)

    def error() -> float:
        refined = calibrated.requantize_sequentially(policy, table, STAGES)
        found = run(calibrated.build(policy, refined), others, threads=1, batch_size=8)
        return float(np.square(found - expected).mean())

    with_residual = error()
    monkeypatch.setattr(nncf_mcq.weights.input_shift, "find_residual", lambda operation: None)
    assert with_residual < 0.85 * error()


def test_the_pass_brings_the_outputs_closer_on_other_images() -> None:
    calibrated, policy, table, refined = two_bits()
    images = random_images(64, seed=5)
    expected = run(calibrated.quantizable.model, images, threads=1, batch_size=16)
    before, after = (
        float(np.square(run(calibrated.build(policy, item), images, threads=1, batch_size=16) - expected).sum())
        for item in (table, refined)
    )
    assert after < 0.95 * before


def test_the_pass_keeps_the_mean_of_each_layers_output_and_of_its_sum_with_a_residual() -> None:
    calibrated, policy, _, refined = two_bits()
    operations = operations_by_name(calibrated.quantizable.model)
    pair = networks(calibrated.quantizable.model, calibrated.build(policy, refined), calibrated.calibration)
    with_residual: list[str] = []
    for layer in calibrated.quantizable.layers:
        with TorchPool(1) as pool:
            shift = observe_shift(layer, pair, pool, 1).shift
        entry = refined[layer.name, 2]
        weights = torch.from_numpy(weight_matrices(layer, operations[layer.name]))
        expected = torch.einsum("grc,gc->gr", weights, shift.float_mean)
        if shift.residual is not None:
            expected += shift.residual.mean
            with_residual.append(layer.name)
        found = torch.einsum("grc,gc->gr", torch.from_numpy(entry.values), shift.quantized.mean)
        torch.testing.assert_close(found + torch.from_numpy(entry.bias_shift), expected, atol=1e-3, rtol=1e-3)
    assert with_residual


def test_only_the_policys_entries_change_and_levels_keep_their_width() -> None:
    calibrated, _, table, refined = two_bits()
    for layer in calibrated.quantizable.layers:
        assert refined[layer.name, 4] is table[layer.name, 4]
        assert refined[layer.name, 2] is not table[layer.name, 2]
        assert refined[layer.name, 2].levels.max() <= 3


def test_layers_that_share_their_weights_stay_as_they_are() -> None:
    config = small_config()
    images = random_images(6, (1, 4, 6, 6))
    calibrated = CalibratedModel.prepare(shared_weights_model(), images, config.compression, 1, STAGES)
    table = calibrated.weight_table((3,), STAGES)
    refined = calibrated.requantize_sequentially(uniform(calibrated, 3), table, STAGES)
    assert calibrated.quantizable.layer("second").group == "first"
    assert {name: refined[name, 3] is table[name, 3] for name in table.entries} == {
        "first": True,
        "second": True,
        "last": False,
    }


def test_the_number_of_threads_does_not_matter() -> None:
    calibrated, policy, table, refined = two_bits()
    again = dataclasses.replace(calibrated, threads=2).requantize_sequentially(policy, table, STAGES)
    for name in table.entries:
        np.testing.assert_array_equal(again[name, 2].levels, refined[name, 2].levels)
        np.testing.assert_allclose(again[name, 2].bias_shift, refined[name, 2].bias_shift, atol=1e-5)


def test_running_on_from_kept_values_finds_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated, policy, table, refined = two_bits()
    cuts = find_cut_values(calibrated.quantizable.model, [layer.name for layer in calibrated.quantizable.layers])
    assert len(set(cuts.values())) > 1
    monkeypatch.setattr(nncf_mcq.weights.input_shift, "CUT_BYTES", 0)
    expected = calibrated.requantize_sequentially(policy, table, STAGES)
    for layer in calibrated.quantizable.layers:
        np.testing.assert_allclose(refined[layer.name, 2].values, expected[layer.name, 2].values, rtol=1e-4, atol=1e-5)


STEPS = 5


class FramesAndMemory(torch.nn.Module):
    """A layer for each frame, then a recurrent one: NNCF quantizes the frames before they are made a sequence of."""

    def __init__(self) -> None:
        super().__init__()
        self.frame, self.memory = torch.nn.Conv2d(3, 4, 3), torch.nn.LSTM(4, 6, batch_first=True)
        self.classes = torch.nn.Linear(6, 5)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        values = torch.relu(self.frame(frames.flatten(0, 1))).mean((2, 3))
        return self.classes(self.memory(values.view(-1, STEPS, 4))[0][:, -1])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_recurrent_layer_behind_moved_values() -> None:
    torch.manual_seed(0)
    shape = (1, STEPS, 3, 8, 8)
    model = ov.convert_model(FramesAndMemory().eval(), example_input=torch.zeros(shape))
    model.reshape(list(shape))
    calibrated = CalibratedModel.prepare(model, random_images(8, shape), small_config().compression, 1, STAGES)
    table = calibrated.weight_table((4,), STAGES)
    names = [layer.name for layer in calibrated.quantizable.layers]
    assert {layer.kind for layer in calibrated.quantizable.layers} == {"convolution", "lstm", "matmul"}
    cuts, quantized = (
        find_cut_values(calibrated.quantizable.model, names),
        calibrated.build(uniform(calibrated, 4), table),
    )
    assert any(passes_a_quantizer(quantized, cut) for cut in cuts.values())

    refined = calibrated.requantize_sequentially(uniform(calibrated, 4), table, STAGES)

    assert all(refined[name, 4] is not table[name, 4] for name in names)
