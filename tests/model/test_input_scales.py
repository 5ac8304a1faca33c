"""Which inputs may have scales, and the model that has them."""

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq.model.input_scales import SCALE_SUFFIX, input_factors, layers_of_own_input, scale_inputs
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.nodes import operations_by_name


class Network(torch.nn.Module):
    """A convolution of the image, a depthwise one, one of its output, and two that share an input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(3, 8, 3)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)
        self.own = torch.nn.Conv2d(8, 6, 1)
        self.left = torch.nn.Conv2d(6, 4, 1)
        self.right = torch.nn.Conv2d(6, 4, 3, padding=1)
        self.pooled = torch.nn.Conv2d(4, 4, 1)
        self.grouped = torch.nn.Conv2d(4, 4, 1, groups=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        value = torch.relu(self.first(image))
        value = torch.nn.functional.relu6(self.depthwise(value))
        value = torch.relu(self.own(value))
        value = torch.relu(self.left(value) * torch.sigmoid(self.right(value)))
        value = self.pooled(torch.max_pool2d(value, 2))
        result: torch.Tensor = self.grouped(torch.relu(value))
        return result


@pytest.fixture(scope="module")
def quantizable() -> QuantizableModel:
    model = ov.convert_model(Network().eval(), input=[1, 3, 16, 16], example_input=torch.zeros(1, 3, 16, 16))
    for operation in model.get_ordered_ops():
        if "Convolution" in operation.get_type_name():
            operation.set_friendly_name(operation.get_friendly_name().split("/")[0].removeprefix("__module."))
    return find_layers(model)


def run(model: ov.Model, image: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(image)[0])


def test_only_a_convolution_that_alone_reads_what_an_operation_computes(quantizable: QuantizableModel) -> None:
    assert [layer.name for layer in layers_of_own_input(quantizable)] == ["own"]


def test_convolutions_of_one_constant_are_left_out() -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.layer(torch.relu(self.layer(image))))

    model = ov.convert_model(Shared().eval(), input=[1, 3, 8, 8], example_input=torch.zeros(1, 3, 8, 8))

    assert not layers_of_own_input(find_layers(model))


def test_scaled_model_computes_the_same(quantizable: QuantizableModel) -> None:
    image = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    powers = (2 ** np.arange(8)).astype(np.uint8)

    scaled = scale_inputs(quantizable, {"own": powers}, [], False).model

    # Powers of two change exponents alone.
    np.testing.assert_array_equal(run(scaled, image), run(quantizable.model, image))
    weights = [operations_by_name(model)["own"].input_value(1).get_node() for model in (scaled, quantizable.model)]
    np.testing.assert_array_equal(weights[0].data, weights[1].data / powers.reshape(1, 8, 1, 1).astype(np.float32))
    assert weights[0].get_friendly_name() == weights[1].get_friendly_name()


def test_scaled_model_has_the_same_layers_and_its_own_quantizer(quantizable: QuantizableModel) -> None:
    found = scale_inputs(quantizable, {"own": np.full(8, 3, np.uint8)}, [], False)

    assert [layer.name for layer in found.layers] == [layer.name for layer in quantizable.layers]
    # Policies that name activations are those of both.
    assert found.layer("own").activation_quantizers == quantizable.layer("own").activation_quantizers
    assert [point.name for point in found.activation_points] == [point.name for point in quantizable.activation_points]
    locations = [point.location for point in found.activation_points]
    assert "own" + SCALE_SUFFIX in locations


def test_factors_are_found_again(quantizable: QuantizableModel) -> None:
    factors = np.array([1, 2, 3, 5, 50, 128, 254, 255], dtype=np.uint8)

    found = input_factors(scale_inputs(quantizable, {"own": factors}, [], False).model, quantizable)

    assert list(found) == ["own"]
    np.testing.assert_array_equal(found["own"], factors)
    assert not input_factors(quantizable.model, quantizable)


def test_model_is_not_edited(quantizable: QuantizableModel) -> None:
    names = set(operations_by_name(quantizable.model))

    scale_inputs(quantizable, {"own": np.full(8, 3, np.uint8)}, [], False)

    assert set(operations_by_name(quantizable.model)) == names
