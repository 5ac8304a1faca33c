"""Softmax that a model spells out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.softmax_forms import use_softmax
from tests import models

SHAPE = (1, 3, 4)
VALUES = 30 * np.random.default_rng(0).standard_normal((6, *SHAPE[1:])).astype(np.float32)

Build = Callable[[ov.Node], ov.Node]


def integers(*values: int) -> ov.Node:
    return opset.constant(np.array(values, np.int64))


def exponentials(data: ov.Node, axis: int, keeps: bool = True) -> ov.Node:
    """Less the largest one, as JAX writes it: with a Maximum that changes nothing."""
    largest = opset.maximum(opset.reduce_max(data, integers(axis), keeps), np.float32(-np.inf))
    if not keeps:
        largest = opset.unsqueeze(largest, integers(axis))
    return opset.exp(opset.subtract(data, largest))


def softmax(data: ov.Node, axis: int = 2, keeps: bool = True) -> ov.Node:
    values = exponentials(data, axis, keeps)
    total = opset.reduce_sum(values, integers(axis), keeps)
    return opset.divide(values, total if keeps else opset.unsqueeze(total, integers(axis)))


def repeated(data: ov.Node) -> ov.Node:
    values = exponentials(data, 2)
    total = opset.reshape(opset.reduce_sum(values, integers(2), False), integers(1, 3, 1), False)
    return opset.divide(values, opset.broadcast(total, integers(*SHAPE)))


def log_softmax(data: ov.Node, axis: int = 2) -> ov.Node:
    shifted = opset.subtract(data, opset.reduce_max(data, integers(axis), True))
    return opset.subtract(shifted, opset.log(opset.reduce_sum(opset.exp(shifted), integers(axis), True)))


SPELLED: dict[str, tuple[str, Build]] = {
    "last axis": ("Softmax", softmax),
    "middle axis": ("Softmax", lambda data: softmax(data, 1)),
    "negative axis": ("Softmax", lambda data: softmax(data, -2)),
    "dimension dropped and put back": ("Softmax", lambda data: softmax(data, 1, keeps=False)),
    "sum repeated": ("Softmax", repeated),
    "without an offset": ("Softmax", lambda data: _quotient(opset.exp(opset.multiply(data, np.float32(0.1))))),
    "logarithm": ("LogSoftmax", log_softmax),
    "logarithm, middle axis": ("LogSoftmax", lambda data: log_softmax(data, 1)),
}


def _quotient(values: ov.Node, axes: tuple[int, ...] = (2,)) -> ov.Node:
    return opset.divide(values, opset.reduce_sum(values, integers(*axes), True))


OTHERS: dict[str, Build] = {
    "over two axes": lambda data: _quotient(opset.exp(data), (1, 2)),
    "no exponential": lambda data: _quotient(opset.abs(data)),
    "sum of another value": lambda data: opset.divide(
        opset.exp(data), opset.reduce_sum(opset.exp(opset.negative(data)), integers(2), True)
    ),
    "mean": lambda data: opset.divide(opset.exp(data), opset.reduce_mean(opset.exp(data), integers(2), True)),
    "the other way round": lambda data: opset.divide(
        opset.reduce_sum(opset.exp(data), integers(2), True), opset.exp(data)
    ),
    "logarithm of other values": lambda data: opset.subtract(
        data, opset.log(opset.reduce_sum(opset.exp(opset.negative(data)), integers(2), True))
    ),
    "a difference": lambda data: opset.subtract(data, opset.log(opset.abs(data))),
}


def run(model: ov.Model, values: np.ndarray) -> np.ndarray:
    return models.run(model, values, threads=1, batch_size=1)


def types_of(model: ov.Model) -> list[str]:
    return [operation.get_type_name() for operation in model.get_ordered_ops()]


def network(build: Build) -> ov.Model:
    data = opset.parameter(list(SHAPE), np.float32, name="data")
    result = build(data)
    result.set_friendly_name("classes")
    result.output(0).get_tensor().set_names({"probabilities"})
    return ov.Model([opset.result(result)], [data], "network")


@pytest.mark.parametrize("form", SPELLED)
def test_one_operation_takes_the_place_of_many(form: str) -> None:
    kind, build = SPELLED[form]
    model = network(build)
    changed = use_softmax(model.clone())
    types = types_of(changed)
    assert types.count(kind) == 1
    assert not {"Exp", "ReduceSum", "ReduceMax", "Maximum", "Divide", "Log"} & set(types)
    (output,) = changed.outputs
    assert output.get_names() == {"probabilities"}
    assert output.get_node().input_value(0).get_node().get_friendly_name() == "classes"
    # Without an offset of its own, the exponential of 90 is still a number.
    np.testing.assert_allclose(run(changed, VALUES), run(model, VALUES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_no_softmax_stays(form: str) -> None:
    model = network(OTHERS[form])
    assert types_of(use_softmax(model.clone())) == types_of(model)


def test_an_offset_that_differs_along_the_axis_is_kept() -> None:
    offset = opset.constant(np.arange(12, dtype=np.float32).reshape(SHAPE))
    model = network(lambda data: _quotient(opset.exp(opset.subtract(data, offset))))
    changed = use_softmax(model.clone())
    assert {"Softmax", "Subtract"} <= set(types_of(changed))
    values = VALUES / 30
    np.testing.assert_allclose(run(changed, values), run(model, values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [[1, -1, 4], [1, 3, -1], [-1, -1, -1]], ids=str)
@pytest.mark.parametrize("build", [softmax, log_softmax, repeated], ids=["softmax", "logarithm", "repeated"])
def test_shapes_that_depend_on_values_are_no_error(shape: list[int], build: Build) -> None:
    """As behind a suppression of boxes, however many are left."""
    data = opset.parameter(shape, np.float32, name="data")
    model = ov.Model([opset.result(build(data))], [data], "open")
    use_softmax(model)
    values = VALUES[:1]
    expected = models.run(network(build), values, threads=1, batch_size=1)
    found = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(values)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_sum_must_line_up_with_what_it_divides() -> None:
    """In a square, a dropped dimension goes unnoticed, and rows are divided by the sums of columns."""
    data = opset.parameter([1, 3, 3], np.float32, name="data")
    values = opset.exp(data)
    result = opset.divide(values, opset.reduce_sum(values, integers(2), False))
    model = ov.Model([opset.result(result)], [data], "square")
    assert types_of(use_softmax(model.clone())) == types_of(model)


def test_an_offset_that_repeats_the_value_is_kept() -> None:
    data = opset.parameter([1, 1, 4], np.float32, name="data")
    offset = opset.constant(np.arange(3, dtype=np.float32).reshape(1, 3, 1))
    model = ov.Model([opset.result(_quotient(opset.exp(opset.subtract(data, offset))))], [data], "repeated")
    changed = use_softmax(model.clone())
    assert list(changed.output(0).get_shape()) == [1, 3, 4]
    assert {"Softmax", "Subtract"} <= set(types_of(changed))


def test_its_output_is_known_to_be_a_softmax() -> None:
    data = opset.parameter([1, 8], np.float32, name="data")
    logits = opset.matmul(data, opset.constant(np.ones((8, 5), np.float32)), False, False)
    # OpenVINO's own fusion does not know this form.
    shares = softmax(logits, 1, keeps=False)
    # What nothing is repeated by hides nothing.
    model = ov.Model([opset.result(opset.broadcast(shares, integers(1, 5)))], [data], "classifier")
    (output,) = describe_outputs(to_openvino(model, None))
    assert (output.activation, output.axis) == ("softmax", 1)
