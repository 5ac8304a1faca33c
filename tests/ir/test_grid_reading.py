"""Grids that were put into a model are read back as they were, and can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.activations import ActivationGrid, set_activation_grids
from nncf_mcq.ir.grid_reading import equal_grids, put_grids, take_grids
from nncf_mcq.model.inference import compile_model
from tests.ir.networks import Network, concat_block, fake_quantize, residual_chain


def output(model: ov.Model, network: Network) -> list[np.ndarray]:
    return [np.array(value) for value in compile_model(model, 1)(network.data).values()]


def assert_same(found: Mapping[str, ActivationGrid], expected: Mapping[str, ActivationGrid]) -> None:
    assert list(found) == list(expected)
    for name, grid in found.items():
        assert grid.bits == expected[name].bits
        assert grid.low.shape == expected[name].low.shape
        np.testing.assert_allclose(grid.low, expected[name].low, rtol=1e-6)
        np.testing.assert_allclose(grid.high, expected[name].high, rtol=1e-6)


@pytest.mark.parametrize("build", [residual_chain, concat_block])
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
def test_what_was_put_is_taken(build: Callable[[Network], ov.Model], bits: int) -> None:
    network = Network(bits, bits)
    model = build(network)
    set_activation_grids(model, network.grids)
    quantized = output(model, network)
    grids = take_grids(model, ["missing", *network.grids])
    assert_same(grids, network.grids)
    # One FakeQuantize is left at each place, to be replaced again.
    left = [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "FakeQuantize"]
    assert sorted(left) == sorted(network.grids)
    set_activation_grids(model, grids)
    for found, expected in zip(output(model, network), quantized, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_grid_per_channel_keeps_its_shape() -> None:
    network = Network(0, None)
    steps = np.array([1, 2, 4]).reshape(1, 3, 1, 1) / 8
    grid = ActivationGrid.from_range(-4 * steps, 3 * steps, 3)
    node = fake_quantize(network.parameter, grid.low, grid.high, 8)
    node.set_friendly_name("quantizer")
    model = ov.Model([opset.relu(node)], [network.parameter], "model")
    set_activation_grids(model, {"quantizer": grid})
    assert_same(take_grids(model, ["quantizer"]), {"quantizer": grid})


def test_grids_are_replaced() -> None:
    network = Network(5, 6)
    model = residual_chain(network)
    set_activation_grids(model, network.grids)
    others = {
        name: ActivationGrid.from_range(grid.low * 2, grid.high * 2, grid.bits) for name, grid in network.grids.items()
    }
    put_grids(model, others)
    expected = residual_chain(Network(5, 6))
    set_activation_grids(expected, others)
    for found, wanted in zip(output(model, network), output(expected, network), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert_same(take_grids(model, others), others)


def test_only_what_has_one_grid_and_must_keep_it_is_grouped() -> None:
    network = Network(0, 8)
    model = concat_block(network)
    set_activation_grids(model, network.grids)
    grids = take_grids(model, network.grids)
    groups = equal_grids(model, grids)
    # The three branches meet in two of Concat.
    assert groups == [("quantizer0",), ("quantizer1",), ("quantizer2", "quantizer3", "quantizer4")]
    assert equal_grids(model, grids, [("quantizer1", "quantizer0")])[:2] == [("quantizer0",), ("quantizer1",)]
    same = grids | {"quantizer1": grids["quantizer0"]}
    assert equal_grids(model, same, [("quantizer1", "quantizer0")])[0] == ("quantizer0", "quantizer1")
    assert equal_grids(model, same)[0] == ("quantizer0",)
    # One that became another cannot be in their group any more, whatever it differs in.
    first = grids["quantizer2"]
    low, high, step = float(first.low), float(first.high), float(first.step)
    assert (low, high) == (-128 * step, 127 * step)
    for other in (
        ActivationGrid.from_range(-64 * step, 63 * step, 7),
        ActivationGrid.from_range(low, low * (1 - 255 / 127), 8),
        ActivationGrid.from_range(high * (1 - 255 / 128), high, 8),
        ActivationGrid.from_range([low], [high], 8),
    ):
        changed = equal_grids(model, grids | {"quantizer2": other})
        assert changed[2:] == [("quantizer2",), ("quantizer3", "quantizer4")]


@pytest.mark.parametrize("levels", [3, 2, 257, 512])
def test_other_nodes_are_no_grids(levels: int) -> None:
    data = opset.parameter([1, 4], ov.Type.f32)
    node = fake_quantize(data, np.array(0.0), np.array(1.0), levels)
    node.set_friendly_name("odd")
    model = ov.Model([opset.relu(node)], [data], "model")
    with pytest.raises(QuantizationError, match="odd: found FakeQuantize, allowed: an activation grid"):
        take_grids(model, ["odd"])


def test_another_operation_is_no_grid() -> None:
    data = opset.parameter([1, 4], ov.Type.f32)
    node = opset.relu(data)
    node.set_friendly_name("relu")
    with pytest.raises(QuantizationError, match="relu: found Relu, allowed: an activation grid"):
        take_grids(ov.Model([node], [data], "model"), ["relu"])
