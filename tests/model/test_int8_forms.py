from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openvino import opset8, opset14
from openvino import opset13 as opset

from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.model.inference import compile_model, with_batch
from nncf_mcq.model.int8_forms import use_int8_forms
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.policy import INT8_PRECISIONS
from tests.models import convolution, make_model, operation_types, random_constant, random_images


def integers(*values: int) -> ov.Node:
    return opset.constant(np.array(values, np.int64))


def torch_pool(data: ov.Node | ov.Output, kernel: int, stride: int, pad: int = 0, dilation: int = 1) -> ov.Node:
    sizes = [[value] * 2 for value in (stride, dilation, pad, pad, kernel)]
    return opset14.max_pool(data, *sizes, "ceil_torch", "explicit")


def infinitely_padded_pool(data: ov.Node) -> ov.Node:
    below_all = opset.constant(np.float32(-np.inf))
    padded = opset.pad(data, integers(0, 0, 0, 1), integers(0, 0, 1, 1), "constant", below_all)
    return opset8.max_pool(padded, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3], "floor", "explicit")


FORMS = {
    "rounds up": lambda data: torch_pool(data, 3, 2),
    "rounds up, padded": lambda data: torch_pool(data, 3, 2, 1),
    "rounds up, every position": lambda data: torch_pool(data, 3, 1, 1),
    "padded by minus infinity": infinitely_padded_pool,
    "adaptive": lambda data: opset8.adaptive_max_pool(data, integers(4, 4), "i32"),
    "repeated": lambda data: opset.tile(data, integers(1, 2, 3, 1)),
    "depth first": lambda data: opset.space_to_depth(data, "depth_first", 4),
    "blocks first": lambda data: opset.space_to_depth(data, "blocks_first", 2),
}


def between_layers(form: str) -> ov.Model:
    """A convolution, the operation and a convolution; (1, 3, 12, 12) -> (1, 5, ...)."""

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(8, 3, 3, 3), "first", pad=1))
        values = FORMS[form](values).output(0).get_node()
        return convolution_of_output(values, "second")

    return make_model(build, (1, 3, 12, 12))


def convolution_of_output(node: ov.Node, name: str) -> ov.Node:
    values = node.output(0)
    sizes = [[1, 1], [0, 0], [0, 0], [1, 1]]
    return opset.convolution(values, random_constant(5, values.get_shape()[1], 1, 1, seed=1), *sizes, name=name)


def outputs(model: ov.Model, image: np.ndarray) -> np.ndarray:
    return np.array(compile_model(model, 1)(image)[0])


@pytest.mark.parametrize("form", FORMS)
def test_layers_behind_it_run_in_int8_and_outputs_are_equal(form: str, tmp_path: Path) -> None:
    model = between_layers(form)
    images = random_images(2, (1, 3, 12, 12))
    changed = use_int8_forms(model.clone())
    assert operation_types(changed) != operation_types(model) or "rounds up" in form
    for size in (1, 2):
        expected, found = (outputs(with_batch(item, size), images[:size]) for item in (model, changed))
        np.testing.assert_array_equal(found, expected)

    quantized = nncf.quantize(changed, nncf.Dataset([image[None] for image in images]), subset_size=2)
    ov.save_model(quantized, tmp_path / "model.xml")
    read = ov.Core().read_model(tmp_path / "model.xml")
    precisions = runtime_precisions(compile_model(read, 1), read)
    assert set(precisions) == {"first", "second"}
    assert set(precisions.values()) <= INT8_PRECISIONS


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(1, 2),
    st.tuples(st.integers(3, 14), st.integers(3, 14)),
)
def test_a_pool_that_rounds_up_is_that_of_torch(
    kernel: int, stride: int, pad: int, dilation: int, sizes: tuple[int, int]
) -> None:
    assume(2 * pad <= kernel and (kernel - 1) * dilation + 1 <= min(sizes) + 2 * pad)
    parameter = opset.parameter([1, 2, *sizes], ov.Type.f32)
    model = ov.Model([torch_pool(parameter.output(0), kernel, stride, pad, dilation).output(0)], [parameter], "pool")
    # All below zero: a window that took in zeros of the padding would show.
    image = random_images(1, (1, 2, *sizes)) - 5
    expected = torch.nn.functional.max_pool2d(
        torch.from_numpy(image), kernel, stride, pad, dilation, ceil_mode=True
    ).numpy()
    use_int8_forms(model)
    pool = next(node for node in model.get_ops() if node.get_type_name() == "MaxPool")
    assert pool.get_attributes()["rounding_type"] == "floor"
    np.testing.assert_array_equal(outputs(model, image), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_an_adaptive_pool_is_that_of_torch(size: int, result: int) -> None:
    assume(result <= size)
    parameter = opset.parameter([1, 2, size, size], ov.Type.f32)
    pool = opset8.adaptive_max_pool(parameter, integers(result, result), "i32")
    model = ov.Model([pool.output(0)], [parameter], "pool")
    image = random_images(1, (1, 2, size, size)) - 5
    use_int8_forms(model)
    if size % result == 0:
        assert "AdaptiveMaxPool" not in {node.get_type_name() for node in model.get_ops()}
    expected = torch.nn.functional.adaptive_max_pool2d(torch.from_numpy(image), result).numpy()
    np.testing.assert_array_equal(outputs(model, image), expected)


@pytest.mark.parametrize(
    ("constant", "data", "transpose_a", "transpose_b"),
    [
        ((6, 5), (1, 5, 4), False, False),
        ((5, 6), (1, 5, 4), True, False),
        ((6, 5), (1, 2, 4, 5), False, True),
        ((3, 5, 6), (1, 3, 4, 5), True, True),
    ],
)
def test_a_matmul_with_a_constant_on_the_left(
    constant: tuple[int, ...], data: tuple[int, ...], transpose_a: bool, transpose_b: bool
) -> None:
    """A layer as others, with a scale for each output channel; NNCF's form of it does not run in int8."""
    weights = random_constant(*constant)
    model = make_model(
        lambda image: opset.relu(opset.matmul(weights, opset.relu(image), transpose_a, transpose_b, name="layer")), data
    )
    image = random_images(1, data)
    changed = use_int8_forms(model.clone())
    np.testing.assert_allclose(outputs(changed, image), outputs(model, image), rtol=1e-5, atol=1e-5)
    (layer,) = find_layers(changed).layers
    assert (layer.name, layer.kind, layer.columns) == ("layer", "matmul", 5)
    quantized = nncf.quantize(changed, nncf.Dataset([image]), subset_size=1)
    assert set(runtime_precisions(compile_model(quantized, 1), quantized).values()) <= INT8_PRECISIONS


def test_names_are_kept() -> None:
    parameter = opset.parameter([1, 2, 8, 8], ov.Type.f32)
    pool = torch_pool(parameter.output(0), 3, 2)
    pool.set_friendly_name("pool")
    pool.output(0).get_tensor().set_names({"pooled"})
    model = use_int8_forms(ov.Model([pool.output(0)], [parameter], "pool"))
    assert model.output(0).get_names() == {"pooled"}
    assert "pool" in {node.get_friendly_name() for node in model.get_ops()}


def test_what_has_no_equal_form_stays() -> None:
    def build(data: ov.Node) -> ov.Node:
        irregular = opset8.adaptive_max_pool(data, integers(5, 5), "i32").output(0)
        with_indices = torch_pool(irregular, 2, 2)
        indices = opset.convert(with_indices.output(1), "f32")
        finite = opset.constant(np.float32(-1.0))
        padded = opset.pad(with_indices.output(0), integers(0, 0, 1, 1), integers(0, 0, 1, 1), "constant", finite)
        pooled = opset8.max_pool(padded, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor", "explicit").output(0)
        many = opset.tile(pooled, integers(1, 1, 17, 1))
        batch = opset.tile(many, integers(2, 1, 1, 1))
        return opset.add(opset.reduce_sum(batch, integers(0, 1, 2, 3)), opset.reduce_sum(indices, integers(0, 1, 2, 3)))

    model = make_model(build, (1, 3, 12, 12))
    assert operation_types(use_int8_forms(model.clone())) == operation_types(model)


def test_a_loaded_model_has_them() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(2, 2, ceil_mode=True))
    model = to_openvino(network.eval(), (1, 3, 9, 9))
    pool = next(node for node in model.get_ops() if node.get_type_name() == "MaxPool")
    assert pool.get_attributes()["rounding_type"] == "floor"
    assert list(model.output(0).get_shape()) == [1, 4, 4, 4]
