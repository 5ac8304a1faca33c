from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq.model.cut_values import CutValue, find_cut_values, part_from, passes_a_quantizer
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.nodes import operations_by_name
from tests.ir.networks import fake_quantize
from tests.models import SAMPLE_SIZE, convolution, random_constant, random_images, run, small_network


def pointwise(value: ov.Node, name: str) -> ov.Node:
    return convolution(value, random_constant(8, 8, 1, 1), name)


def small_model() -> ov.Model:
    return ov.convert_model(small_network(), example_input=torch.zeros(SAMPLE_SIZE), input=list(SAMPLE_SIZE))


def residual_model() -> ov.Model:
    """first -> relu -> (second -> third) + relu -> fourth."""
    data = opset.parameter([1, 8, 4, 4], np.float32, name="data")
    stem = opset.relu(pointwise(data, "first"), name="stem")
    branch = pointwise(opset.relu(pointwise(stem, "second"), name="inner"), "third")
    joined = opset.add(stem, branch, name="joined")
    return ov.Model([opset.result(pointwise(joined, "fourth"))], [data], "residual")


NAMES = ["first", "second", "third", "fourth"]


def test_a_layer_of_a_branch_starts_where_the_branch_does() -> None:
    assert find_cut_values(residual_model(), NAMES) == {
        "second": CutValue("stem", 0),
        "third": CutValue("stem", 0),
        "fourth": CutValue("joined", 0),
    }


def test_a_value_must_come_before_all_later_layers() -> None:
    """The fourth is asked for before the third: what it starts from would not do for the third."""
    assert find_cut_values(residual_model(), ["first", "second", "fourth", "third"]) == {
        "second": CutValue("stem", 0),
        "fourth": CutValue("stem", 0),
        "third": CutValue("stem", 0),
    }


def test_a_second_input_that_is_still_read_is_no_constant() -> None:
    data, other = (opset.parameter([1, 8, 4, 4], np.float32, name=name) for name in ("data", "other"))
    first = pointwise(data, "first")
    second = pointwise(opset.relu(first), "second")
    joined = opset.add(second, other, name="joined")
    last = pointwise(opset.relu(opset.add(joined, np.float32(1))), "last")
    model = ov.Model([opset.result(last)], [data, other], "two")
    assert find_cut_values(model, ["first", "second", "last"]).keys() == {"last"}


def test_outputs_on_the_way_do_not_count() -> None:
    data = opset.parameter([1, 8, 4, 4], np.float32, name="data")
    first = pointwise(data, "first")
    second = pointwise(opset.relu(first, name="relu"), "second")
    model = ov.Model([opset.result(first), opset.result(second)], [data], "outputs")
    assert find_cut_values(model, ["first", "second"])["second"].operation in ("first", "relu")


def test_what_is_computed_from_constants_alone_does_not_count() -> None:
    data = opset.parameter([1, 8, 4, 4], np.float32, name="data")
    scaled = opset.multiply(random_constant(8, 8, 1, 1), np.float32(2), name="scaled")
    early = opset.relu(data, name="relu")
    first = convolution(early, scaled, "first")
    second = convolution(first, scaled, "second")
    model = ov.Model([opset.result(second)], [data], "shared")
    assert find_cut_values(model, ["first", "second"]) == {
        "first": CutValue("relu", 0),
        "second": CutValue("first", 0),
    }


def test_models_with_states_or_two_operations_of_one_name_have_none() -> None:
    model = residual_model()
    operations_by_name(model)["inner"].set_friendly_name("joined")
    assert find_cut_values(model, NAMES) == {}
    data = opset.parameter([1, 8, 4, 4], np.float32, name="data")
    info = ov.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1, 8, 4, 4]), ov.Type.f32, "state"
    variable = ov.op.util.Variable(info)
    state = opset.add(opset.read_value(data, variable), data)
    last = pointwise(opset.relu(pointwise(state, "first")), "second")
    model = ov.Model([opset.result(last)], [opset.assign(state, variable)], [data], "stateful")
    assert find_cut_values(model, ["first", "second"]) == {}


@pytest.mark.parametrize("make", [small_model, residual_model])
def test_two_parts_compute_what_the_whole_does(make: Callable[[], ov.Model]) -> None:
    model = make()
    images = random_images(3, tuple(model.input(0).shape))
    names = [layer.name for layer in find_layers(model, []).layers]
    cuts = find_cut_values(model, names)
    assert len(set(cuts.values())) > 1
    expected = run(model, images, threads=1, batch_size=1)
    for cut in cuts.values():
        copy = model.clone()
        first = run(part_from(copy, None, cut.of(copy)), images, threads=1, batch_size=1)
        copy = model.clone()
        found = run(part_from(copy, cut, copy.output(0).get_node().input_value(0)), first, threads=1, batch_size=1)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_part_from_a_value_to_itself_is_the_value() -> None:
    model, values = residual_model(), random_images(1, (1, 8, 4, 4))
    cut = CutValue("stem", 0)
    np.testing.assert_array_equal(run(part_from(model, cut, cut.of(model)), values, threads=1, batch_size=1), values)


def recurrent_model(*, quantized: bool) -> ov.Model:
    """early -> a quantizer, or not -> moved -> LSTM."""
    data = opset.parameter([1, 3, 5], np.float32, name="data")
    early = opset.relu(data, name="early")
    bounds = np.array(0), np.array(1)
    values = fake_quantize(early, *bounds, 256) if quantized else opset.sigmoid(early)
    moved = opset.transpose(values, opset.constant([0, 2, 1]), name="moved")
    states = [opset.constant(np.zeros((1, 1, 4), np.float32))] * 2
    weights = random_constant(1, 16, 3), random_constant(1, 16, 4), random_constant(1, 16)
    layer = opset.lstm_sequence(moved, *states, opset.constant(np.array([5], np.int32)), *weights, 4, "forward")
    return ov.Model([opset.result(layer.output(0))], [data], "recurrent")


def test_a_part_of_a_recurrent_layer_must_not_lose_the_quantizer_of_its_input() -> None:
    model = recurrent_model(quantized=True)
    assert passes_a_quantizer(model, CutValue("moved", 0))
    assert not passes_a_quantizer(model, CutValue("early", 0))


def test_without_a_quantizer_all_that_a_recurrent_layer_reads_may_come_from_it() -> None:
    model = recurrent_model(quantized=False)
    assert passes_a_quantizer(model, CutValue("early", 0))


def test_layers_that_are_not_recurrent_may_lose_it() -> None:
    data = opset.parameter([1, 8, 4, 4], np.float32, name="data")
    quantized = fake_quantize(data, np.array(0), np.array(1), 256)
    quantized.set_friendly_name("quantized")
    model = ov.Model([opset.result(pointwise(quantized, "layer"))], [data], "convolution")
    assert not passes_a_quantizer(model, CutValue("quantized", 0))
