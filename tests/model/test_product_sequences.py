"""Sequences of int8 matrix products without biases, which OpenVINO computes wrongly in one thread."""

import itertools

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import quantize
from nncf_mcq.model.int8 import nncf_int8
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.product_sequences import keep_biases_apart
from tests.cpu import has_vnni

WIDTHS = (10, 16, 12, 8)


def make_network(biases: tuple[bool, ...]) -> torch.nn.Module:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for (inputs, outputs), bias in zip(itertools.pairwise(WIDTHS), biases, strict=True):
        layers += [torch.nn.Linear(inputs, outputs, bias=bias), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).eval()


def make_images() -> np.ndarray:
    return np.random.default_rng(0).random((8, 1, WIDTHS[0]), dtype=np.float32)


def run(model: ov.Model, images: np.ndarray, threads: int = 1) -> np.ndarray:
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(model.clone(), "CPU", properties)
    return np.concatenate([compiled(image)[0].copy() for image in images])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("biases", list(itertools.product((False, True), repeat=3)), ids=str)
def test_model_without_biases_is_right_in_one_thread(biases: tuple[bool, ...]) -> None:
    network, images = make_network(biases), make_images()
    compression = {
        "algorithm": "mixed_clipping_quantization",
        "correction": {"bias": False, "sequential": False},
        "initializer": {"precision": {"type": "uniform", "bits": 8}},
    }
    config = {"input_info": {"sample_size": [1, WIDTHS[0]]}, "compression": compression}

    result = quantize(network, nncf.Dataset(list(images)), config)

    with torch.no_grad():
        expected = network(torch.from_numpy(images[:, 0])).numpy()
    for threads in (1, 2):
        assert relative_error(run(result.model, images, threads), expected) < 0.05


@pytest.mark.parametrize("biases", [(False,) * 3, (True, False, True), (True,) * 3], ids=str)
def test_nncf_int8_is_right_in_one_thread(biases: tuple[bool, ...]) -> None:
    network, images = make_network(biases), make_images()
    model = ov.convert_model(network, input=[1, WIDTHS[0]], example_input=torch.from_numpy(images[0]))

    found = run(nncf_int8(model, images[:, 0], []), images)

    # NNCF's weights take all levels: without VNNI its sums saturate.
    assert relative_error(found, run(model, images)) < (0.3 if has_vnni() else 0.5)


def make_sequence(*biases: float | None, rank: int = 2, quantized: bool = True) -> ov.Model:
    parameter = opset.parameter([1] * (rank - 1) + [4], name="data")
    value: ov.Node = parameter
    for index, bias in enumerate(biases):
        if quantized:
            value = opset.fake_quantize(value, *map(np.float32, (0, 1, 0, 1)), 256)
        value = opset.matmul(value, np.ones((4, 4), np.float32), False, True, name=f"product_{index}")
        if bias is not None:
            value = opset.add(value, np.full((1, 1), bias, np.float32), name=f"bias_{index}")
    return ov.Model([value], [parameter])


def biases_of(model: ov.Model) -> dict[str, np.ndarray]:
    return {
        name: operation.input_value(1).get_node().data
        for name, operation in operations_by_name(model).items()
        if operation.get_type_name() == "Add"
    }


def test_only_a_product_that_another_follows_gets_a_bias() -> None:
    model = make_sequence(None, None)

    keep_biases_apart(model)

    assert list(biases_of(model)) == ["product_0/bias"]
    assert biases_of(model)["product_0/bias"].tolist() == [[np.float32(1e-30), 0, 0, 0]]


@pytest.mark.parametrize(
    ("bias", "first"), [(0.0, np.float32(1e-30)), (2.0, np.nextafter(np.float32(2), np.float32(3)))]
)
def test_bias_alike_for_all_channels_is_varied_in_place(bias: float, first: np.float32) -> None:
    model = make_sequence(bias, None)

    keep_biases_apart(model)

    assert biases_of(model)["bias_0"].tolist() == [[first, bias, bias, bias]]
    assert len(biases_of(model)) == 1


@pytest.mark.parametrize("model", [make_sequence(None, None, rank=3), make_sequence(None, None, quantized=False)])
def test_other_products_stay_as_they_are(model: ov.Model) -> None:
    keep_biases_apart(model)

    assert not biases_of(model)
