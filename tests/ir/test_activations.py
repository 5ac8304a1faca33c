from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset1
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.activations import (
    ActivationGrid,
    concat_groups,
    feeds_only_sums,
    grids_at_sums,
    set_activation_grid,
    set_activation_grids,
    unify_concat_grids,
    unify_grids,
)
from nncf_mcq.ir.verification import VerificationResult, verify
from nncf_mcq.ir.writer import save_atomically
from tests.ir.networks import Network, concat_block, fake_quantize, random_graph, residual_chain
from tests.ir.reference import interpret


def saved_and_verified(network: Network, model: ov.Model, references: list[np.ndarray]) -> VerificationResult:
    with TemporaryDirectory() as directory:
        xml = save_atomically(model, Path(directory))
        expected = [[reference.astype(np.float32) for reference in references]]
        return verify(xml, network.layers, [network.data], expected, threads=1)


def check(network: Network, model: ov.Model) -> None:
    references = interpret(model, network.data)
    assert all(reference.std() > 0 for reference in references)
    set_activation_grids(model, network.grids)
    assert not saved_and_verified(network, model, references).problems


@pytest.mark.parametrize("build", [residual_chain, concat_block])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, None])
def test_file_is_the_float_simulation(build: Callable[[Network], ov.Model], bits: int | None) -> None:
    network = Network(bits or 0, bits)
    check(network, build(network))


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([None, None, 4, 8]))
def test_random_graph_is_the_float_simulation(seed: int, bits: int | None) -> None:
    network = Network(seed, bits, (1, 3, 8, 8))
    check(network, random_graph(network, 4))


@pytest.mark.parametrize("bits", range(2, 9))
def test_asymmetric_grid(bits: int) -> None:
    network = Network(bits, None)
    node = network.quantize(opset.relu(network.layer(network.quantize(network.parameter, bits=8), 8, 3)))
    node = network.quantize(network.layer(node, 8), bits=bits, asymmetric=True)
    check(network, network.model(network.layer(node, 8, 3), network.layer(node, 8, 3, depthwise=True)))


def residual_block(network: Network, bits: int, sums: bool) -> ov.Model:
    """Asymmetric grids everywhere but, unless `sums`, at the inputs of the Add."""

    def quantize(node: ov.Node, asymmetric: bool = True) -> ov.Node:
        return network.quantize(node, bits=bits, asymmetric=asymmetric)

    node = quantize(network.layer(network.quantize(network.parameter, bits=8), 8, 3), sums)
    branch = quantize(network.layer(quantize(network.layer(node, 8, 3)), 8), sums)
    return network.model(network.layer(quantize(opset.add(branch, node)), 8))


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_asymmetric_grids_around_a_sum(bits: int) -> None:
    network = Network(bits, None)
    model = residual_block(network, bits, sums=False)
    assert grids_at_sums(model) == {"quantizer1", "quantizer3"}
    assert not all(network.grids[name].symmetric for name in ("quantizer2", "quantizer4"))
    check(network, model)


def test_what_shares_a_grid_with_the_input_of_a_sum_is_at_the_sum() -> None:
    network = Network(0, 6)
    node = network.quantize(network.parameter)
    first, second, other = (network.quantize(network.layer(node, 8)) for _ in range(3))
    joined = network.layer(opset.concat([first, second], 1), 8)
    # Two more that share a grid, and meet no sum.
    apart = network.layer(opset.concat([network.quantize(network.layer(node, 8)) for _ in range(2)], 1), 8)
    model = network.model(opset.concat([joined, network.layer(opset.add(first, other), 8), apart], 1))
    assert [len(group) for group in concat_groups(model)] == [2, 2]
    assert grids_at_sums(model) == {"quantizer1", "quantizer2", "quantizer3"}


def test_why_the_inputs_of_a_sum_are_not_asymmetric() -> None:
    # The day that the plugin rounds them rightly, this fails, and `grids_at_sums` can go.
    problems: list[str] = []
    for network in (Network(seed, None) for seed in range(4)):
        model = residual_block(network, 6, sums=True)
        references = interpret(model, network.data)
        set_activation_grids(model, network.grids)
        problems += saved_and_verified(network, model, references).problems
    assert any("values differ" in problem for problem in problems)


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
def test_asymmetric_grids_at_a_concat(bits: int) -> None:
    network = Network(bits, bits, asymmetric=True)
    node = network.quantize(network.layer(network.quantize(network.parameter, bits=8), 8, 3))
    branches = [network.quantize(network.layer(node, 8)), network.quantize(opset.relu(network.layer(node, 8)))]
    model = network.model(network.layer(opset.concat(branches, 1), 8))
    assert any(grid.signed and not grid.symmetric for grid in network.grids.values())
    check(network, model)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_grid_per_channel_in_front_of_a_depthwise_layer(bits: int, signed: bool) -> None:
    network = Network(bits, None)
    node = network.layer(network.quantize(network.parameter, bits=8), 8, 3)
    steps = 2.0 ** network.random.integers(1, 4, (1, 8, 1, 1)) / 2**bits
    lowest = -(2 ** (bits - 1)) if signed else 0
    grid = ActivationGrid.from_range(lowest * steps, (lowest + 2**bits - 1) * steps, bits)
    quantized = fake_quantize(node if signed else opset.relu(node), grid.low, grid.high, 2**bits)
    quantized.set_friendly_name("per channel")
    network.grids["per channel"] = grid
    check(network, network.model(network.layer(quantized, 8, 3, depthwise=True)))


def sum_of_two_layers(network: Network) -> ov.Model:
    node = network.quantize(opset.relu(network.layer(network.quantize(network.parameter, bits=8), 8, 3)))
    left, right = (network.quantize(network.layer(node, 8)) for _ in range(2))
    return network.model(network.layer(network.quantize(opset.add(left, right)), 8))


@pytest.mark.parametrize("bits", [4, 8])
def test_why_sums_need_a_form_of_their_own(bits: int) -> None:
    # The day that the plugin keeps the rounding of a FakeQuantize at an Add, this fails, and the form can go.
    network = Network(1, bits)
    model = sum_of_two_layers(network)
    for name in network.grids:
        assert feeds_only_sums(_named(model, name)) == (name in ("quantizer2", "quantizer3"))
    result = saved_and_verified(network, model, interpret(model, network.data))
    assert len(result.problems) == 1
    assert "values differ" in result.problems[0]

    network = Network(1, bits)
    check(network, sum_of_two_layers(network))


def test_why_the_inputs_of_a_concat_share_a_grid() -> None:
    network = Network(0, 8)
    node = network.quantize(opset.relu(network.layer(network.quantize(network.parameter), 8, 3)))
    branches = [network.quantize(opset.relu(network.layer(node, 8)), step=step) for step in (1 / 8, 1 / 32)]
    model = ov.Model([network.layer(opset.concat(branches, 1), 8)], [network.parameter], "different steps")
    (problem,) = saved_and_verified(network, model, interpret(model, network.data)).problems
    assert "values differ" in problem


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
def test_upsampling_in_front_of_a_concat_rounds_once(bits: int) -> None:
    """As NNCF places them: a quantizer before the upsampling and one after it, which shares the grid of the Concat."""
    network = Network(bits, bits, (1, 3, 16, 16))
    route = network.quantize(opset.relu(network.layer(network.quantize(network.parameter), 8, 3)), step=1 / 8)
    pooled = opset1.max_pool(route, [2, 2], [0, 0], [0, 0], [2, 2])
    before = network.quantize(opset.relu(network.layer(pooled, 8)), step=1 / 32)
    upsampled = network.quantize(_upsampled(before), step=1 / 8)
    model = ov.Model([network.layer(opset.concat([upsampled, route], 1), 8)], [network.parameter], "upsampling")
    names = [node.get_friendly_name() for node in (before, upsampled, route)]
    grids = unify_concat_grids(model, {name: network.grids[name] for name in names})
    assert grids[names[0]] == grids[names[1]] == grids[names[2]]
    for node in (before, upsampled, route):
        grid = network.grids[node.get_friendly_name()] = grids[node.get_friendly_name()]
        for port, bound in ((1, grid.low), (2, grid.high), (3, grid.low), (4, grid.high)):
            constant = opset.constant(bound.astype(np.float32))
            node.input(port).replace_source_output(constant.output(0))
    check(network, model)


def _upsampled(node: ov.Node) -> ov.Node:
    scales, axes = opset.constant(np.array([2.0, 2.0], dtype=np.float32)), opset.constant(np.array([2, 3]))
    return opset.interpolate(
        node, scales, "nearest", "scales", axes=axes, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _named(model: ov.Model, name: str) -> ov.Node:
    return next(node for node in model.get_ops() if node.get_friendly_name() == name)


def pair(model: ov.Model) -> list[tuple[str, int, float, float]]:
    """Name, levels and range of the FakeQuantize nodes, in the order of the model; those of the output are the same."""
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            bounds = [node.input_value(port).get_node() for port in range(1, 5)]
            assert all(bound.get_element_type() == ov.Type.f32 for bound in bounds)
            low, high, *of_output = (float(bound.get_data()) for bound in bounds)
            assert of_output == [low, high]
            found.append((node.get_friendly_name(), int(node.get_attributes()["levels"]), low, high))
    return found


@pytest.mark.parametrize(
    ("bits", "low", "at_sum", "expected"),
    [
        (3, -4, False, [("q/grid", 8, -4, 3), ("q", 256, -128, 127)]),
        (3, -4, True, [("q/grid", 8, -4, 3), ("q", 256, -128, 127)]),
        (3, 0, False, [("q/grid", 8, 0, 7), ("q", 256, 0, 255)]),
        (3, -1, False, [("q/grid", 8, -1, 6), ("q", 256, -128, 127)]),
        (4, -8, False, [("q", 16, -8, 7)]),
        (4, -8, True, [("q/grid", 17, -8, 8), ("q", 16, -8, 7)]),
        (8, 0, False, [("q", 256, 0, 255)]),
        (8, 0, True, [("q/grid", 257, 0, 256), ("q", 256, 0, 255)]),
    ],
)
def test_the_forms_of_a_grid(bits: int, low: int, at_sum: bool, expected: list[tuple[str, int, float, float]]) -> None:
    data, other = (opset.parameter([1, 4], ov.Type.f32) for _ in range(2))
    quantizer = fake_quantize(data, np.array(-1.0), np.array(1.0), 256)
    quantizer.set_friendly_name("q")
    model = ov.Model([opset.add(quantizer, other) if at_sum else opset.relu(quantizer)], [data, other], "model")
    set_activation_grids(model, {"q": ActivationGrid.from_range(low, low + 2**bits - 1, bits)})
    assert pair(model) == expected


def test_what_is_a_sum() -> None:
    data, other = (opset.parameter([1, 4, 2, 2], ov.Type.f32) for _ in range(2))
    constant, weights = (opset.constant(np.ones(shape, np.float32)) for shape in ((1, 4, 1, 1), (4, 4, 1, 1)))

    def found(*build: Callable[[ov.Node], ov.Node]) -> bool:
        quantizer = fake_quantize(data, np.array(-8.0), np.array(7.0), 16)
        model = ov.Model([make(quantizer) for make in build], [data, other], "model")
        assert len(model.get_ops()) > 0
        return feeds_only_sums(quantizer)

    def layer(node: ov.Node) -> ov.Node:
        return opset.convolution(node, weights, [1, 1], [0, 0], [0, 0], [1, 1])

    def total(node: ov.Node) -> ov.Node:
        return opset.add(other, node)

    assert found(total)
    assert found(total, opset.relu)
    assert not found(total, layer)
    assert not found(layer)
    assert not found(opset.relu)
    # A bias is none.
    assert not found(lambda node: opset.add(node, constant))
    assert not found(lambda node: opset.add(constant, node))


def test_replacement_keeps_the_name_and_all_consumers() -> None:
    data = opset.parameter([1, 4], ov.Type.f32)
    quantizer = fake_quantize(data, np.array(0.0), np.array(15.0), 256)
    quantizer.set_friendly_name("quantizer")
    model = ov.Model([opset.relu(quantizer), opset.sigmoid(quantizer)], [data], "model")
    replacement = set_activation_grid(quantizer, ActivationGrid.from_range(0.0, 7.0, 3))
    assert replacement.get_friendly_name() == "quantizer"
    assert len(replacement.output(0).get_target_inputs()) == 2
    assert not quantizer.output(0).get_target_inputs()
    kinds = [node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    assert len(kinds) == 2


def test_concat_groups_join_through_operations_that_preserve_values() -> None:
    data = opset.parameter([1, 4, 4, 4], ov.Type.f32)
    quantizers = [fake_quantize(data, np.array(-1.0), np.array(float(index)), 256) for index in range(1, 6)]
    for index, quantizer in enumerate(quantizers):
        quantizer.set_friendly_name(f"quantizer{index}")
    pooled = opset1.max_pool(quantizers[0], [1, 1], [1, 1], [1, 1], [3, 3])
    first = opset.concat([pooled, quantizers[1]], 1)
    second = opset.concat([opset.transpose(first, opset.constant(np.array([0, 1, 3, 2]))), quantizers[2]], 1)
    alone = opset.concat([opset.sigmoid(quantizers[3]), quantizers[4]], 1)
    model = ov.Model([second, alone], [data], "model")
    groups = [[node.get_friendly_name() for node in group] for group in concat_groups(model)]
    assert [sorted(group) for group in groups] == [["quantizer0", "quantizer1", "quantizer2"]]

    grids = {f"quantizer{index}": ActivationGrid.from_range(0, 15 + index, 4) for index in range(4)}
    unified = unify_concat_grids(model, grids)
    assert [float(unified[f"quantizer{index}"].high) for index in range(4)] == [17, 17, 17, 18]


def test_what_meets_twice_is_looked_through_once() -> None:
    data = opset.parameter([1, 4, 4, 4], ov.Type.f32)
    quantizers = [fake_quantize(data, np.array(-1.0), np.array(float(index)), 256) for index in range(1, 4)]
    for index, quantizer in enumerate(quantizers):
        quantizer.set_friendly_name(f"quantizer{index}")
    first, second, third = quantizers
    for order in ([first, second, second], [second, second, first]):
        (group,) = concat_groups(ov.Model([opset.concat(order, 1), third], [data], "model"))
        assert sorted(node.get_friendly_name() for node in group) == ["quantizer0", "quantizer1"]
    # Between its pixels, another kind of upsampling has values of its own.
    linear = opset.interpolate(
        first, opset.constant(np.array([4, 4])), "linear", "sizes", axes=opset.constant(np.array([2, 3]))
    )
    assert concat_groups(ov.Model([opset.concat([linear, second], 1)], [data], "model")) == []


def test_a_zero_point_leaves_a_level_on_both_sides() -> None:
    steep = unify_grids([ActivationGrid.from_range(-63, 0, 6)])
    assert (float(steep.low), float(steep.high), int(steep.zero_point)) == (-63, pytest.approx(63 / 62), 62)
    grids = [ActivationGrid.from_range(-0.5, 31, 6), ActivationGrid.from_range(0, 126, 6)]
    flat = unify_grids(grids)
    assert (float(flat.low), float(flat.high), int(flat.zero_point)) == (pytest.approx(-126 / 62), 126, 1)
    middle = unify_grids([ActivationGrid.from_range(-20, 43, 6), ActivationGrid.from_range(-10.5, 5.25, 6)])
    assert (float(middle.low), float(middle.high), int(middle.zero_point)) == (-20, 43, 20)


def test_unified_grid_covers_all() -> None:
    unsigned = [ActivationGrid.from_range(0, 15, 4), ActivationGrid.from_range(0, 6, 3)]
    assert unify_grids(unsigned) == ActivationGrid.from_range(0, 15, 4)
    signed = unify_grids([*unsigned, ActivationGrid.from_range(-8, 7, 4)])
    assert (signed.bits, float(signed.step)) == (4, 15 / 7)
    assert float(signed.high) == pytest.approx(15)
    assert int(signed.zero_point) == 8


@given(
    ends=st.lists(st.tuples(st.integers(0, 62), st.floats(1e-3, 1e3)), min_size=1, max_size=3),
    bits=st.integers(2, 8),
)
def test_unified_asymmetric_grid_covers_all_and_holds_zero(ends: list[tuple[int, float]], bits: int) -> None:
    grids = [ActivationGrid.from_range(-low * step, (63 - low) * step, 6) for low, step in ends]
    grids.append(ActivationGrid.from_range(0, 1, bits))
    common = unify_grids(grids)
    assert common.bits == max(6, bits)
    for grid in grids:
        assert common.low <= grid.low * (1 - 1e-9)
        assert common.high >= grid.high * (1 - 1e-9)
    # Rounding the zero point costs at most one step of the width.
    shortest = max(grid.high for grid in grids) - min(grid.low for grid in grids)
    assert common.high - common.low <= shortest * (1 + 1 / (2**common.bits - 2)) * 2


def test_a_grid_per_channel_is_symmetric_where_all_channels_are() -> None:
    steps = np.array([1.0, 2.0])
    symmetric, mixed = (
        ActivationGrid.from_range(lows * steps, (lows + 15) * steps, 4)
        for lows in (np.array([-8, -8]), np.array([-8, -7]))
    )
    assert symmetric.symmetric
    assert not mixed.symmetric
    assert symmetric.signed
    assert mixed.signed
    assert int(unify_grids([symmetric]).zero_point) == 8
    common = unify_grids([mixed])
    assert (float(common.low), float(common.high)) == pytest.approx((-14.0, 16.0))


def test_grid_of_a_threshold_at_any_width() -> None:
    signed = ActivationGrid.from_thresholds(-127.0, 127.0, 4)
    assert (float(signed.high), float(signed.low), int(signed.zero_point)) == (127, pytest.approx(-127 * 8 / 7), 8)
    unsigned = ActivationGrid.from_thresholds(0.0, 6.0, 4)
    assert (float(unsigned.high), float(unsigned.low)) == (6, 0)
    asymmetric = ActivationGrid.from_thresholds([-5.0], [10.0], 4)
    assert (asymmetric.low.tolist(), asymmetric.high.tolist()) == ([-5], [10])
    with pytest.raises(QuantizationError, match="allowed: finite, low < high"):
        ActivationGrid.from_thresholds(0.0, 0.0, 4)
    # In double precision, whatever the thresholds are in.
    high = np.float32(0.1)
    assert float(ActivationGrid.from_thresholds(-high, high, 4).low) == -8 * (float(high) / 7)


@pytest.mark.parametrize(
    ("low", "high", "bits", "message"),
    [
        (0.0, 1.0, 1, "activation bits: found 1, allowed: 2 to 8"),
        (1.0, 1.0, 4, r"activation range: found 1\.0\.\.1\.0, allowed: finite, low < high"),
        (0.0, np.inf, 4, r"activation range: found 0\.0\.\.inf, allowed: finite, low < high"),
        (1.0, 16.0, 4, r"activation range: found 1\.0\.\.16\.0, allowed: a 4-bit grid that holds 0"),
        (-0.5, 14.5, 4, r"activation range: found -0\.5\.\.14\.5, allowed: a 4-bit grid that holds 0"),
    ],
)
def test_says_which_range_is_no_grid(low: float, high: float, bits: int, message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        ActivationGrid.from_range(low, high, bits)


def test_unknown_quantizer() -> None:
    data = opset.parameter([1, 4], ov.Type.f32)
    model = ov.Model([opset.relu(data)], [data], "model")
    with pytest.raises(QuantizationError, match=r"activation quantizers: found \['missing'\]"):
        set_activation_grids(model, {"missing": ActivationGrid.from_range(0, 1, 8)})
