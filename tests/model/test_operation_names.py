"""Names are labels: whatever a model calls its operations, they are found again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import quantize
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from tests.models import SAMPLE_SIZE, as_dataset, convolution, make_model, random_constant, random_images

SETTINGS = {
    "runtime": {"threads": 1},
    "compression": {"initializer": {"precision": {"type": "uniform", "bits": 4}}},
}


def model_of(names: Sequence[str], *, image: str = "image") -> ov.Model:
    """Convolution, ReLU, convolution, called by these names."""
    parameter = opset.parameter(list(SAMPLE_SIZE), ov.Type.f32)
    parameter.set_friendly_name(image)
    first = convolution(parameter, random_constant(8, 3, 3, 3), "first")
    middle = opset.relu(first)
    last = convolution(middle, random_constant(4, 8, 1, 1), "last")
    for operation, name in zip((first, middle, last), names, strict=True):
        operation.set_friendly_name(name)
    return ov.Model([last], [parameter], "model")


def layer_names(model: ov.Model) -> list[str]:
    return [layer.name for layer in find_layers(to_openvino(model, None)).layers]


@pytest.mark.parametrize(
    "names",
    [
        ("input:0", "first:0", "first:1", "last:0"),
        ("a/b\\c", "name with 'quotes' and \"others\"", "<tag> & more", "x\ty"),
        ("größe", "слой", "層:1", "🙂"),
        ("a,b", "b", "a", "b,a"),
        ("{re}.*", "[1]", "policy.json", "activation:image"),
    ],
    ids=["ports", "punctuation", "unicode", "commas", "syntax"],
)
def test_names_are_not_read_as_data(names: tuple[str, str, str, str], tmp_path: Path) -> None:
    image, *others = names
    result = quantize(model_of(others, image=image), as_dataset(random_images(4)), SETTINGS)
    assert list(result.policy.weight_bits) == [others[0], others[2]]
    assert set(result.policy.activation_bits) == {image, others[1]}
    assert result.save(tmp_path / "quantized").is_file()
    restored = ov.Core().read_model(tmp_path / "quantized" / "model.xml")
    assert {others[0], others[2]} <= {operation.get_friendly_name() for operation in restored.get_ops()}


def test_equal_names_are_told_apart_and_layers_keep_theirs(tmp_path: Path) -> None:
    model = model_of(["same", "same", "same"], image="same")
    assert layer_names(model) == ["same", "same_1"]
    names = [operation.get_friendly_name() for operation in to_openvino(model, None).get_ops()]
    assert len(set(names)) == len(names)
    result = quantize(model, as_dataset(random_images(4)), SETTINGS)
    assert result.save(tmp_path / "quantized").is_file()


def test_a_port_and_an_operation_of_that_name_are_two_points(tmp_path: Path) -> None:
    # Two operations read the image, so NNCF quantizes it at the port of the addition, which is called `add:0`.
    def build(data: ov.Node) -> ov.Node:
        total = opset.add(data, opset.multiply(data, opset.sigmoid(data)), name="add")
        return convolution(opset.relu(total, name="add:0"), random_constant(4, 3, 1, 1), "last")

    model = make_model(build, SAMPLE_SIZE)
    points = {point.name: point for point in find_layers(to_openvino(model, None)).activation_points}
    assert (points["add:0"].location, points["add:0"].input_port) == ("add:0", None)
    assert (points["add:0 (input)"].location, points["add:0 (input)"].input_port) == ("add", 0)
    result = quantize(model, as_dataset(random_images(4)), SETTINGS)
    assert set(result.policy.activation_bits) == set(points)
    assert result.save(tmp_path / "quantized").is_file()


@pytest.mark.parametrize("name", ["Conv_0", "conv_1", "layer_12", "Gemm_3", "block_1"])
def test_names_of_a_file_stay(name: str, tmp_path: Path) -> None:
    ov.save_model(model_of([name, "relu", "last"]), tmp_path / "model.xml")
    assert layer_names(ov.Core().read_model(tmp_path / "model.xml")) == [name, "last"]


def test_names_without_a_meaning_stay_where_the_user_may_have_seen_them(tmp_path: Path) -> None:
    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(8, 3, 3, 3), "first"), name="Relu_1234")
        return convolution(values, random_constant(4, 8, 1, 1), "last")

    ov.save_model(make_model(build, SAMPLE_SIZE), tmp_path / "model.xml")
    model = to_openvino(ov.Core().read_model(tmp_path / "model.xml"), None)
    assert "Relu_1234" in {point.name for point in find_layers(model).activation_points}


def test_operations_without_a_name_get_the_same_one_in_every_run() -> None:
    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(8, 3, 3, 3), "first"))
        return convolution(values, random_constant(4, 8, 1, 1), "last")

    for _ in range(2):
        points = find_layers(to_openvino(make_model(build, SAMPLE_SIZE), None)).activation_points
        assert [point.name for point in points] == ["image", "Relu_0"]


def test_names_that_count_the_operations_of_a_process_are_replaced() -> None:
    def names() -> tuple[list[str], list[str]]:
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval()
        model = to_openvino(torch.nn.Sequential(module), SAMPLE_SIZE)
        layers = [layer.name for layer in find_layers(model).layers]
        return layers, [operation.get_friendly_name() for operation in model.get_ordered_ops()]

    first, second = names(), names()
    assert first == second
    assert first[0] == ["0.1/Convolution"]
