"""Recurrent layers whose states are read by others: last states, and states that are passed on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from nncf_mcq import quantize
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import Arrays
from nncf_mcq.result import QuantizationResult

STATES, INPUTS = 16, 8
SAMPLES = 4

Quantized = Callable[[str, int], tuple[QuantizationResult, Path]]


class LastState(nn.Module):
    """A layer that reads the last hidden state."""

    def __init__(self, bidirectional: bool = False) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(INPUTS, STATES, batch_first=True, bidirectional=bidirectional)
        self.last = nn.Linear(STATES * (1 + bidirectional), 4)

    def forward(self, values: Tensor) -> Tensor:
        _, (hidden, _) = self.recurrent(values)
        return self.last(hidden.transpose(0, 1).flatten(1))


class LastStates(nn.Module):
    """One layer reads the sequence, one the last hidden state and one the last cell state."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(INPUTS, STATES, batch_first=True)
        self.layers = nn.ModuleList(nn.Linear(STATES, 4) for _ in range(3))

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        sequence, (hidden, cell) = self.recurrent(values)
        return tuple(layer(read) for layer, read in zip(self.layers, (sequence, hidden[0], cell[0]), strict=True))


class TwoLayers(nn.Module):
    """Two layers of an LSTM in both directions, whose last states are the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(INPUTS, STATES, 2, batch_first=True, bidirectional=True)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        _, (hidden, cell) = self.recurrent(values)
        return hidden, cell


class Translator(nn.Module):
    """The last states of an encoder are the first ones of a decoder, which may be the same layer."""

    def __init__(self, bidirectional: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.encoder = nn.LSTM(INPUTS, STATES, batch_first=True, bidirectional=bidirectional)
        decoder = nn.LSTM(INPUTS, STATES, batch_first=True, bidirectional=bidirectional)
        self.decoder = self.encoder if shared else decoder
        self.last = nn.Linear(STATES * (1 + bidirectional), 4)

    def forward(self, read: Tensor, written: Tensor) -> Tensor:
        _, states = self.encoder(read)
        return self.last(self.decoder(written, states)[0])


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "last state": LastState,
    "last state, both directions": lambda: LastState(bidirectional=True),
    "all states": LastStates,
    "two layers": TwoLayers,
    "translator": Translator,
    "translator, both directions": lambda: Translator(bidirectional=True),
    "translator, one layer": lambda: Translator(shared=True),
}


def sequences(seed: int, inputs: int) -> list[tuple[np.ndarray, ...]]:
    generator = np.random.default_rng(seed)
    shapes = [(1, 9, INPUTS), (1, 6, INPUTS)][:inputs]
    return [tuple(generator.uniform(-1, 1, shape).astype(np.float32) for shape in shapes) for _ in range(SAMPLES)]


def outputs(model: ov.Model, samples: list[tuple[np.ndarray, ...]]) -> list[Arrays]:
    compiled = compile_model(model, 1)
    return [tuple(np.array(value) for value in compiled(list(sample)).values()) for sample in samples]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """The result of each model and bit-width, and the folder of its file; made once."""
    return functools.cache(lambda name, bits: _quantized(name, bits, tmp_path_factory.mktemp("model")))


def _quantized(name: str, bits: int, directory: Path) -> tuple[QuantizationResult, Path]:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    inputs = 2 if isinstance(model, Translator) else 1
    result = quantize(
        model,
        nncf.Dataset(sequences(0, inputs)),
        {
            "input_info": [{"sample_size": list(value.shape)} for value in sequences(0, inputs)[0]],
            "compression": {"initializer": {"precision": {"type": "uniform", "bits": bits}}},
            "runtime": {"threads": 1},
        },
    )
    return result, result.save(directory)


@pytest.mark.parametrize(
    ("name", "bits", "largest"), [*((name, 8, 2e-3) for name in MODELS), ("translator, both directions", 5, 2e-2)]
)
def test_the_file_is_verified_and_close_to_the_float_model(
    name: str, bits: int, largest: float, quantized: Quantized
) -> None:
    result, file = quantized(name, bits)
    samples = sequences(1, len(result.float_model.inputs))
    expected, found = (outputs(model, samples) for model in (result.float_model, ov.Core().read_model(file)))
    for output in range(len(expected[0])):
        wanted, given = (np.stack([sample[output] for sample in values]) for values in (expected, found))
        assert np.square(given - wanted).mean() < largest * np.square(wanted).mean()
    # Scales of several directions are no weights.
    assert result.float_weights == []


@pytest.mark.parametrize("name", ["last state", "last state, both directions"])
def test_layers_that_read_a_last_state_run_in_int8(name: str, quantized: Quantized) -> None:
    precisions = {layer.name: layer.runtime_precision for layer in quantized(name, 8)[0].layers}
    assert len(precisions) == 2
    assert set(precisions.values()) <= {"i8", "u8"}


@pytest.mark.parametrize("name", ["translator", "translator, both directions"])
def test_a_layer_that_begins_with_computed_states_is_float_and_says_why(name: str, quantized: Quantized) -> None:
    layers = {layer.name: layer for layer in quantized(name, 8)[0].layers}
    encoder, decoder, _ = layers.values()
    assert (encoder.integer_kernel, encoder.float_cause) == (True, None)
    assert encoder.runtime_precision in ("i8", "u8")
    assert (decoder.bits, decoder.activation_bits, decoder.integer_kernel) == (8, None, False)
    assert decoder.float_cause == "its initial state is no constant"


def test_layers_that_share_their_weights_are_computed_alike(quantized: Quantized) -> None:
    encoder, decoder, _ = quantized("translator, one layer", 8)[0].layers
    assert encoder.group == decoder.group
    assert not encoder.integer_kernel
    assert not decoder.integer_kernel
