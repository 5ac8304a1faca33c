from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import quantize
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.recurrent_kernels import SHARED_KERNEL
from tests.models import as_dataset, make_model, random_constant, random_images

STEPS, STATES = 4, 8
SHAPE = (1, STEPS, STATES)


def lstm(data: ov.Node, name: str, *, states: int = STATES, direction: str = "forward", seed: int = 0) -> ov.Node:
    """A layer over (1, steps, STATES) that returns (1, steps, states), or twice as many of two directions."""
    directions = 2 if direction == "bidirectional" else 1
    zeros = opset.constant(np.zeros((1, directions, states), np.float32))
    layer = opset.lstm_sequence(
        data,
        zeros,
        zeros,
        opset.constant(np.array([STEPS], np.int32)),
        random_constant(directions, 4 * states, STATES, seed=seed),
        random_constant(directions, 4 * states, states, seed=seed + 1),
        random_constant(directions, 4 * states, seed=seed + 2),
        states,
        direction,
        name=name,
    )
    ordered = opset.transpose(layer.output(0), [0, 2, 1, 3])
    return opset.reshape(ordered, [1, STEPS, directions * states], False)


def causes(model: ov.Model) -> dict[str, str | None]:
    return {layer.name: layer.float_cause for layer in find_layers(model, []).layers}


def test_of_layers_of_the_same_shape_only_the_first_is_in_int8() -> None:
    model = make_model(lambda data: lstm(lstm(lstm(data, "a"), "b", seed=3), "c", seed=6), SHAPE)
    assert causes(model) == {"a": None, "b": SHARED_KERNEL, "c": SHARED_KERNEL}


@pytest.mark.parametrize("second", [{"states": 6}, {"direction": "reverse"}])
def test_layers_of_other_shapes_or_directions_have_kernels_of_their_own(second: dict[str, str]) -> None:
    model = make_model(lambda data: lstm(lstm(data, "a"), "b", seed=3, **second), SHAPE)  # type: ignore[arg-type]
    assert causes(model) == {"a": None, "b": None}


def test_each_direction_has_a_kernel() -> None:
    model = make_model(lambda data: lstm(lstm(data, "a"), "b", seed=3, direction="bidirectional"), SHAPE)
    assert causes(model) == {"a": None, "b": SHARED_KERNEL}


def test_stacked_layers_are_computed_right() -> None:
    """Ranges that differ by far: with the scales of the first layer the second is nothing but noise."""

    class Stacked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = torch.nn.LSTM(32, 32, num_layers=2, batch_first=True)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.memory(values * 2)[0]
            return found

    torch.manual_seed(0)
    shape = (1, 6, 32)
    network, images = Stacked().eval(), random_images(16, shape)
    config = {"input_info": {"sample_size": list(shape)}, "runtime": {"threads": 1}}
    result = quantize(network, as_dataset(images), config)
    compiled = compile_model(result.model, 1)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    errors = np.concatenate([compiled(image[None])[0] for image in images]) - expected
    assert np.square(errors).sum() < 1e-2 * np.square(expected).sum()
    assert [layer.integer_kernel for layer in result.layers] == [True, False]
