"""Recurrent layers for tests, and what they compute, step by step."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.model.nodes import constant_value, operations_by_name
from tests.models import make_model, random_constant

STEPS, INPUTS, STATES = 5, 3, 4
GATES = {"lstm": 4, "gru": 3}


def recurrent_model(
    kind: str, direction: str = "forward", *, weight: float = 1.0, steps: int = STEPS, relu: bool = False
) -> ov.Model:
    """An LSTM or GRU named `layer` over (1, steps, inputs), whose output is (1, steps, directions * states).

    Args:
        kind: lstm or gru.
        direction: forward, reverse or bidirectional.
        weight: Factor of the weights of the inputs relative to those of the states.
        steps: Of the sequence.
        relu: Whether the inputs are never negative.
    """
    directions, gates = 2 if direction == "bidirectional" else 1, GATES[kind] * STATES

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(data, name="relu") if relu else data
        first = opset.constant(np.zeros((1, directions, STATES), np.float32))
        constants = (
            opset.constant(np.array([steps], np.int32)),
            _scaled(random_constant(directions, gates, INPUTS), weight),
            _scaled(random_constant(directions, gates, STATES, seed=1)),
            _scaled(random_constant(directions, gates, seed=2)),
        )
        if kind == "lstm":
            layer = opset.lstm_sequence(values, first, first, *constants, STATES, direction, name="layer")
        else:
            layer = opset.gru_sequence(values, first, *constants, STATES, direction, name="layer")
        ordered = opset.transpose(layer.output(0), [0, 2, 1, 3])
        return opset.reshape(ordered, [1, steps, directions * STATES], False)

    return make_model(build, (1, steps, INPUTS))


def _scaled(constant: ov.Node, factor: float = 1.0) -> ov.Node:
    """Weights that do not saturate the gates."""
    return opset.constant(constant.get_data() * np.float32(0.4 * factor))


def gates_by_hand(model: ov.Model, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """(directions, gates, steps) the products of the weights with the inputs and hidden states, before the biases."""
    layer = operations_by_name(model)["layer"]
    port = layer.get_input_size() - 3
    kind = "lstm" if layer.get_type_name() == "LSTMSequence" else "gru"
    inputs, states, biases = (constant_value(layer, port + index).astype(np.float64) for index in range(3))
    direction = layer.get_attributes()["direction"]
    found = np.zeros((len(inputs), inputs.shape[1], image.shape[1]))
    for number, (weight, recurrent, bias) in enumerate(zip(inputs, states, biases, strict=True)):
        hidden, cell = np.zeros(STATES), np.zeros(STATES)
        is_reversed = direction == "reverse" or number == 1
        for step in range(image.shape[1])[:: -1 if is_reversed else 1]:
            found[number, :, step] = weight @ image[0, step] + recurrent @ hidden
            if kind == "lstm":
                forget, take, candidate, show = np.split(found[number, :, step] + bias, 4)
                cell = _sigmoid(forget) * cell + _sigmoid(take) * np.tanh(candidate)
                hidden = _sigmoid(show) * np.tanh(cell)
            else:
                update, reset = (_sigmoid(part) for part in np.split((found[number, :, step] + bias), 3)[:2])
                rows = slice(2 * STATES, None)
                inner = weight[rows] @ image[0, step] + recurrent[rows] @ (reset * hidden) + bias[rows]
                hidden = (1 - update) * np.tanh(inner) + update * hidden
    return found


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))
