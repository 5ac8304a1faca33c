from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq import quantize
from nncf_mcq.ir.float_layers import fits_half, float_weight
from nncf_mcq.ir.float_weights import average_weight_bits, find_float_weights
from nncf_mcq.model.nodes import constant_of, operations_by_name, source
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.summaries.result import result_lines
from tests.exporting import export
from tests.models import (
    as_dataset,
    convolution,
    make_model,
    random_constant,
    random_images,
    run,
    small_calibrated_model,
)


def test_float_layers_read_what_is_not_quantized() -> None:
    """What remains of the error are the quantizers of the residual addition."""
    calibrated, table = small_calibrated_model()
    layers = calibrated.quantizable.layers
    images = random_images(4)
    expected = run(calibrated.quantizable.model, images, threads=1, batch_size=4)
    errors = {}
    for bits in (8, FLOAT_CHOICE):
        model = calibrated.build(Policy({layer.name: bits for layer in layers}, calibrated.activation_bits), table)
        operations = operations_by_name(model)
        sources = {source(operations[layer.name], layer.data_port).get_type_name() for layer in layers}
        assert ("FakeQuantize" in sources) == (bits == 8)
        outputs = run(model, images, threads=1, batch_size=4)
        errors[bits] = np.square(outputs - expected).mean()
    assert errors[FLOAT_CHOICE] < errors[8]


def test_a_float_layer_ships_as_f16_beside_int8_layers(tmp_path: Path) -> None:
    calibrated, table = small_calibrated_model()
    names = [layer.name for layer in calibrated.quantizable.layers]
    kept = names[2]
    sizes = {}
    for bits in (8, FLOAT_CHOICE):
        policy = Policy({name: bits if name == kept else 4 for name in names}, calibrated.activation_bits)
        integer = [name for name in names if policy.weight_bits[name] != FLOAT_CHOICE]
        # The outputs of the file must be those of the model that was scored, bit for bit.
        scored = calibrated.build(policy, table, packed=False)
        found = export(scored, tmp_path / "scored", "model", integer, random_images(3), information={}, threads=1)
        shipped = export(
            calibrated.build(policy, table), tmp_path, "model", integer, random_images(3), information={}, threads=1
        )
        assert shipped.runtime_precisions == found.runtime_precisions
        assert shipped.runtime_precisions[kept] == (
            "f32" if bits == FLOAT_CHOICE else shipped.runtime_precisions[names[1]]
        )
        sizes[bits] = shipped.xml.with_suffix(".bin").stat().st_size
    layer = calibrated.quantizable.layer(kept)
    # Scales, one a channel, and the range of the quantizer are saved.
    assert 0 < sizes[FLOAT_CHOICE] - sizes[8] <= layer.weights
    constants = [node for node in ov.Core().read_model(shipped.xml).get_ops() if node.get_type_name() == "Constant"]
    halves = [tuple(node.get_output_shape(0)) for node in constants if node.get_element_type() == ov.Type.f16]
    assert halves == [layer.weight_shape]


@pytest.mark.parametrize("value", [1e6, 1e-7])
def test_weights_that_f16_cannot_hold_are_stored_as_f32(value: float) -> None:
    weight = np.full((3, 4), value, dtype=np.float32)
    assert not fits_half(weight)
    constant = float_weight(weight)
    assert constant.get_type_name() == "Constant"
    np.testing.assert_array_equal(constant.get_data(), weight)


def test_weights_that_f16_can_hold_lose_no_more_than_by_rounding() -> None:
    weight = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    assert fits_half(weight)
    # One value that becomes zero among others that do not is nothing that counts.
    weight[0, 0] = 1e-9
    assert fits_half(weight)
    half = float_weight(weight).input_value(0).get_node().get_data()
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.astype(np.float32), weight, rtol=2**-11, atol=1e-8)


def float_beside_quantized() -> ov.Model:
    """A quantized convolution, then a recurrent operation that NNCF leaves alone and a table that is added."""

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(6, 3, 3), "quantized", pad=1))
        steps = opset.transpose(values, [0, 2, 1])
        constants = (opset.constant(np.array([8], np.int32)), random_constant(1, 12, 6), random_constant(1, 12, 4))
        first = opset.constant(np.zeros((1, 1, 4), np.float32))
        states = opset.gru_sequence(
            steps, first, *constants, random_constant(1, 16), 4, "forward", linear_before_reset=True, name="float"
        )
        flat = opset.reshape(states.output(0), [1, 32], False)
        return opset.add(opset.reshape(flat, [1, 8, 4], False), random_constant(8, 4, seed=3), name="table")

    return make_model(build, (1, 3, 8))


def test_weights_that_stay_float_are_stored_as_f16_in_the_scored_model_and_in_the_file(tmp_path: Path) -> None:
    model = float_beside_quantized()
    result = quantize(model, as_dataset(random_images(6, (1, 3, 8))), {"runtime": {"threads": 1, "batch_size": 1}})
    result.save(tmp_path)  # which compares the outputs with those of the scored model, bit for bit
    stored = {}
    for found in (result.model, ov.Core().read_model(tmp_path / "model.xml")):
        operation = operations_by_name(found)["float"]
        types = [constant_of(operation, port).get_element_type() for port in (3, 4, 5)]
        # Not the bias: few numbers, whose errors add up over the steps.
        assert types == [ov.Type.f16, ov.Type.f32, ov.Type.f32]
        stored = {item.name: item for item in result.float_weights}
    # 48 recurrent weights are too few: the conversion takes more bytes in the .xml than it would save.
    assert [(item.weights, item.bits) for item in result.float_weights] == [(72, 16), (48, 32), (32, 32)]
    assert stored["table"].reason == "it is not multiplied by a layer"
    assert stored["float"].reason == "NNCF does not quantize it"
    assert stored["float"].kind == "GRUSequence"
    assert sum(item.share for item in result.float_weights) == pytest.approx((72 + 48 + 32) / (72 + 48 + 32 + 54))
    average = (54 * 8 + 72 * 16 + 48 * 32 + 32 * 32) / (54 + 72 + 48 + 32)
    assert result.metrics["quantized"]["average_weight_bits"] == pytest.approx(average)


def test_ignored_layers_count_and_are_named(tmp_path: Path) -> None:
    config = {
        "compression": {"ignored_scopes": ["second"], "initializer": {"precision": {"type": "uniform", "bits": 4}}}
    }

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(16, 3, 3, 3), "first"))
        return convolution(values, random_constant(8, 16, 3, 3), "second")

    model = make_model(build, (1, 3, 8, 8))
    result = quantize(model, as_dataset(random_images(6)), {**config, "runtime": {"threads": 1}})
    (kept,) = result.float_weights
    assert (kept.name, kept.kind, kept.reason) == ("second", "Convolution", "it is in ignored_scopes")
    quantized, left = 16 * 27, 8 * 16 * 9
    assert (kept.weights, kept.bits, kept.share) == (left, 16, pytest.approx(left / (quantized + left)))
    average = (quantized * 4 + left * 16) / (quantized + left)
    assert result.metrics["quantized"]["average_weight_bits"] == pytest.approx(average)
    result.save(tmp_path)
    lines = "\n".join(result_lines(result, tmp_path))
    assert "in floating point: 72.7 % of the weights" in lines
    assert "second (Convolution, 72.7 %, 16 bits): it is in ignored_scopes" in lines
    assert json.loads((tmp_path / "result.json").read_text())["float_weights"][0]["reason"] == kept.reason


def test_layers_that_the_policy_leaves_float_count_once() -> None:
    calibrated, table = small_calibrated_model()
    layers = calibrated.quantizable.layers
    policy = Policy({layer.name: 4 for layer in layers} | {layers[2].name: FLOAT_CHOICE}, calibrated.activation_bits)
    (kept,) = found = find_float_weights(calibrated.build(policy, table), calibrated.quantizable, policy)
    assert (kept.name, kept.kind, kept.weights, kept.bits) == (layers[2].name, "convolution", layers[2].weights, 16)
    assert kept.reason == "the policy leaves it in floating point"
    # As the budget of a search counts it.
    average = average_weight_bits(calibrated.quantizable, policy, found)
    assert average == pytest.approx(calibrated.costs(table).average_bits(policy))


def test_nothing_stays_float_where_all_layers_are_quantized() -> None:
    calibrated, table = small_calibrated_model()
    policy = Policy({layer.name: 2 for layer in calibrated.quantizable.layers}, calibrated.activation_bits)
    assert not find_float_weights(calibrated.build(policy, table), calibrated.quantizable, policy)
