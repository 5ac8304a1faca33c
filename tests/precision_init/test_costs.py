from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as opset

from nncf_mcq import Budget, BudgetError, Policy
from nncf_mcq.config.budget import WeightSizeBudget
from nncf_mcq.config.schema import load_config
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.precision_init.costs import Constraint, CostModel
from nncf_mcq.testing.networks import images, small_config, small_network
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.latency.tables import make_table
from tests.models import convolution, countable_model, layer, make_model, random_constant, random_images

BITS = (2, 3, 4, 8)
FIXED_BYTES = 1000

PATH = "compression.initializer.precision.budget"


def choices_of(layers: Sequence[QuantizableLayer]) -> dict[str, tuple[int, ...]]:
    return countable_model(layers).choices(BITS, (8,))


def cost_model(layers: list[QuantizableLayer]) -> CostModel:
    return CostModel(countable_model(layers), {"a4": 4, "a8": 8}, lambda: FIXED_BYTES)


LAYERS = [
    layer("first", 101, macs=1000, inputs=["a4"]),
    layer("second", 7, macs=50, inputs=["a4", "a8"]),
    layer("again", 101, macs=300, group="first", inputs=["a8"]),
    layer("float_input", 13, macs=10),
]


@st.composite
def layers_and_bits(draw: st.DrawFn) -> tuple[list[QuantizableLayer], dict[str, int]]:
    layers: list[QuantizableLayer] = []
    for index in range(draw(st.integers(1, 5))):
        inputs = draw(st.lists(st.sampled_from(["a4", "a8"]), unique=True))
        macs = draw(st.integers(1, 10**9))
        if index and draw(st.booleans()):
            first = layers[0]
            layers.append(layer(f"l{index}", first.weights, macs=macs, group=first.group, inputs=inputs))
        else:
            layers.append(layer(f"l{index}", draw(st.integers(1, 10**6)), macs=macs, inputs=inputs))
    bits = {item.group: draw(st.sampled_from(BITS)) for item in layers}
    return layers, bits


def stored_bytes(count: int, bits: int) -> int:
    """Eight weights of 3 bits are one block of 3 bytes; no width counts less than a smaller one."""
    of_three = 3 * -(-count // 8) if bits >= 3 else 0
    return max(of_three, 0 if bits == 3 else -(-count * bits // 8))


@given(layers_and_bits())
def test_every_constraint_totals_the_brute_force_sum(drawn: tuple[list[QuantizableLayer], dict[str, int]]) -> None:
    layers, group_bits = drawn
    stored = {item.group: item.weights for item in layers}
    activation_bits = {"a4": 4, "a8": 8}
    weight_bits = sum(count * group_bits[group] for group, count in stored.items())
    file_bytes = FIXED_BYTES + sum(stored_bytes(count, group_bits[group]) for group, count in stored.items())
    operations = sum(
        item.macs
        * group_bits[item.group]
        * max((activation_bits[name] for name in item.activation_quantizers), default=32)
        for item in layers
    )
    model = cost_model(layers)
    weights = sum(stored.values())
    expected = {
        f"{PATH}.weight_size.average_bits": (weight_bits, 8 * weights),
        f"{PATH}.weight_size.bytes": (file_bytes, 10**12),
        f"{PATH}.weight_size.ratio": (weight_bits, 0.5 * 32 * weights),
        f"{PATH}.bops.total": (operations, 1e15),
        f"{PATH}.bops.ratio": (operations, 4 * sum(item.macs for item in layers) * 64),
    }
    for size, bops in (
        ({"average_bits": 8}, {"total": 1e15}),
        ({"bytes": 10**12}, {"ratio": 4}),
        ({"ratio": 0.5}, {"ratio": 4}),
    ):
        for constraint in model.constraints(
            Budget.model_validate({"weight_size": size, "bops": bops}), choices_of(layers)
        ):
            total, limit = expected[constraint.path]
            assert constraint.total(group_bits) == total
            assert constraint.limit == pytest.approx(limit)
            smallest, largest = constraint.reachable
            assert smallest <= total <= largest
    policy = Policy({item.name: group_bits[item.group] for item in layers})
    assert model.bops(policy) == operations
    assert model.average_bits(policy) == pytest.approx(weight_bits / weights)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_a_budget_in_bytes_is_the_size_of_the_file(bits: int, tmp_path: Path) -> None:
    """Where few weights take whole blocks, and a recurrent layer has two constants."""

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(3, 3, 3), "first", pad=1))
        constants = (opset.constant(np.array([3], np.int32)), random_constant(1, 20, 7), random_constant(1, 20, 5))
        state = opset.constant(np.zeros((1, 1, 5), np.float32))
        layer = opset.lstm_sequence(
            values, state, state, *constants, random_constant(1, 20), 5, "forward", name="second"
        )
        return opset.reshape(layer.output(0), [1, 3, 5], False)

    config = load_config({"compression": {"initializer": {"precision": {"type": "uniform", "bits": 8}}}})
    stages = Stages(SilentProgress())
    model = make_model(build, (1, 3, 7))
    calibrated = CalibratedModel.prepare(model, random_images(4, (1, 3, 7)), config.compression, 1, stages)
    table = calibrated.weight_table((2, 3, 4, 5, 6, 7, 8), stages)
    choices = calibrated.quantizable.choices((2, 3, 4, 5, 6, 7, 8), (8,))
    budget = Budget.model_validate({"weight_size": {"bytes": 10**6}})
    (constraint,) = calibrated.costs(table).constraints(budget, choices)
    policy = Policy(dict.fromkeys(choices, bits), calibrated.activation_bits)
    size = save_atomically(calibrated.build(policy, table), tmp_path).with_suffix(".bin").stat().st_size
    # Zero points may take less, and a few single numbers are stored at some bit-widths only.
    assert 0 <= constraint.total(policy.weight_bits) - size <= 16


def test_no_file_is_larger_than_its_cost(tmp_path: Path) -> None:
    """Where all channels share a zero point, each bit-width stores another one."""
    widths = (2, 3, 4, 5, 6, 7, 8)
    compression, stages = small_config(weight_bits=widths).compression, Stages(SilentProgress())
    calibrated = CalibratedModel.prepare(small_network(), images(4), compression, 1, stages)
    table, choices = calibrated.weight_table(widths, stages), calibrated.quantizable.choices(widths, (8,))
    constraint = calibrated.costs(table).size_limit(WeightSizeBudget(bytes=10**6), choices)
    random = np.random.default_rng(0)
    for _ in range(12):
        bits = {group: int(random.choice(widths)) for group in choices}
        weight_bits = {layer.name: bits[layer.group] for layer in calibrated.quantizable.layers}
        model = calibrated.build(Policy(weight_bits, calibrated.activation_bits), table)
        size = save_atomically(model, tmp_path).with_suffix(".bin").stat().st_size
        assert 0 <= constraint.total(bits) - size <= 16


def test_a_shared_constant_is_stored_once_and_multiplied_twice() -> None:
    model = cost_model(LAYERS)
    weight_bits = {"first": 2, "second": 4, "again": 2, "float_input": 8}
    policy = Policy(weight_bits)
    assert model.average_bits(policy) == (101 * 2 + 7 * 4 + 13 * 8) / 121
    assert model.bops(policy) == 1000 * 2 * 4 + 50 * 4 * 8 + 300 * 2 * 8 + 10 * 8 * 32
    # The policy's own bits of an activation count, where it has some.
    assert model.bops(Policy(weight_bits, {"a8": 2})) == 1000 * 2 * 4 + 50 * 4 * 4 + 300 * 2 * 2 + 10 * 8 * 32


PAIRED = [
    layer("first", 101, macs=1000, inputs=["a4"]),
    layer("again", 101, macs=300, group="first", inputs=["a8"]),
    layer("twice", 101, macs=20, group="first", inputs=["a4"]),
    layer("second", 7, macs=50, inputs=["a8"]),
    layer("float_input", 13, macs=10),
]
"""Layers that share their weights and have several inputs, and the other way round."""

ALL_BITS = st.fixed_dictionaries(
    {
        **{group: st.sampled_from(BITS) for group in ("first", "second", "float_input")},
        **{f"activation:{name}": st.sampled_from((4, 8)) for name in ("a4", "a8")},
    }
)


@given(ALL_BITS)
def test_bit_operations_where_activations_are_chosen_too(bits: dict[str, int]) -> None:
    choices = countable_model(PAIRED).choices(BITS, (4, 8))
    assert choices.keys() == bits.keys()
    model, a4, a8 = cost_model(PAIRED), bits["activation:a4"], bits["activation:a8"]
    expected = bits["first"] * (1020 * a4 + 300 * a8) + bits["second"] * 50 * a8 + bits["float_input"] * 10 * 32
    policy = Policy({item.name: bits[item.group] for item in PAIRED}, {"a4": a4, "a8": a8})
    assert model.bops(policy) == expected
    for budget in ({"total": 1e9}, {"ratio": 1.0}):
        (constraint,) = model.constraints(Budget.model_validate({"bops": budget}), choices)
        assert constraint.total(bits) == expected
        marginal = constraint.marginal(bits)
        assert {group: tuple(costs) for group, costs in marginal.items()} == choices
        for group, costs in marginal.items():
            for width, cost in costs.items():
                # What depends on the group: the difference to the costs of the others among themselves.
                without = constraint.total({**bits, group: width}) - cost
                assert without == pytest.approx(constraint.total(bits) - costs[bits[group]])
        rates = {"first": 1020 * a4 + 300 * a8, "second": 50 * a8, "float_input": 320}
        rates |= {"activation:a4": bits["first"] * 1020, "activation:a8": bits["first"] * 300 + bits["second"] * 50}
        assert {group: costs[4] for group, costs in marginal.items()} == {
            group: 4 * rate for group, rate in rates.items()
        }


@given(ALL_BITS)
def test_activations_are_stored_nowhere(bits: dict[str, int]) -> None:
    model, choices = cost_model(PAIRED), countable_model(PAIRED).choices(BITS, (4, 8))
    weights_alone = countable_model(PAIRED).choices(BITS, (8,))
    for size in ({"average_bits": 8}, {"ratio": 0.25}, {"bytes": 10**6}):
        (constraint,) = model.constraints(Budget.model_validate({"weight_size": size}), choices)
        (expected,) = model.constraints(Budget.model_validate({"weight_size": size}), weights_alone)
        assert constraint.total(bits) == expected.total({group: bits[group] for group in weights_alone})


def test_average_bits_are_a_limit_of_size() -> None:
    model, choices = cost_model(LAYERS), choices_of(LAYERS)
    constraint = model.average_bits_limit(3.5, choices)
    assert constraint == model.size_limit(WeightSizeBudget(average_bits=3.5), choices)
    assert (constraint.limit, constraint.divisor) == (3.5 * 121, 121)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            {"weight_size": {"average_bits": 1.5}},
            f"{PATH}.weight_size.average_bits: found 1.5 bits, which no policy meets; reachable: 2 to 8 bits",
        ),
        (
            {"weight_size": {"ratio": 0.05}},
            f"{PATH}.weight_size.ratio: found 0.05 of the FP32 size, which no policy meets; "
            "reachable: 0.0625 to 0.25 of the FP32 size",
        ),
        (
            {"weight_size": {"bytes": 1000}},
            f"{PATH}.weight_size.bytes: found 1000 bytes of the .bin, which no policy meets; "
            "reachable: 1032 to 1121 bytes of the .bin",
        ),
        (
            {"bops": {"total": 1}},
            f"{PATH}.bops.total: found 1 bit operations, which no policy meets; "
            "reachable: 14240 to 56960 bit operations",
        ),
        (
            {"bops": {"ratio": 0.1}},
            f"{PATH}.bops.ratio: found 0.1 of INT8, which no policy meets; reachable: 0.163603 to 0.654412 of INT8",
        ),
    ],
)
def test_a_budget_out_of_reach_names_the_reachable_range(budget: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(BudgetError) as caught:
        cost_model(LAYERS).constraints(Budget.model_validate(budget), choices_of(LAYERS))
    assert str(caught.value) == message


@pytest.mark.parametrize(("bits", "more"), [*itertools.pairwise(BITS)])
def test_a_budget_that_is_exactly_a_uniform_width_is_met_by_it(bits: int, more: int) -> None:
    budget = Budget.model_validate({"weight_size": {"average_bits": bits}})
    (constraint,) = cost_model(LAYERS).constraints(budget, choices_of(LAYERS))
    assert constraint.is_met(dict.fromkeys(("first", "second", "float_input"), bits))
    assert not constraint.is_met({"first": bits, "second": more, "float_input": bits})


def test_a_limit_gives_way_to_rounding_alone() -> None:
    budget = Budget.model_validate({"weight_size": {"average_bits": 4}})
    (constraint,) = cost_model(LAYERS).constraints(budget, choices_of(LAYERS))
    bits = dict.fromkeys(("first", "second", "float_input"), 4)
    total = constraint.total(bits)
    for share, is_met in ((1 - 1e-12, True), (1 - 1e-8, False), (0.9995, False)):
        limited = dataclasses.replace(constraint, limit=total * share)
        assert limited.is_met(bits) is is_met
        alone = dataclasses.replace(limited, cost={group: {4: cost[4]} for group, cost in constraint.cost.items()})
        if is_met:
            alone.check_reachable()
        else:
            with pytest.raises(BudgetError, match="which no policy meets"):
                alone.check_reachable()


def test_what_costs_nothing_is_within_a_limit_of_nothing() -> None:
    nothing = Constraint("path", "units", {"group": {2: 0.0, 4: 1.0}}, 0.0, 0.0)
    nothing.check_reachable()
    assert nothing.is_met({"group": 2})
    assert not nothing.is_met({"group": 4})


def test_every_limit_that_is_given_becomes_a_constraint() -> None:
    budget = Budget.model_validate({"weight_size": {"average_bits": 4}, "bops": {"ratio": 0.5}})
    paths = [constraint.path for constraint in cost_model(LAYERS).constraints(budget, choices_of(LAYERS))]
    assert paths == [f"{PATH}.weight_size.average_bits", f"{PATH}.bops.ratio"]


def test_latency_counts_what_float_layers_add_alone() -> None:
    table = make_table({"first": 3.0, "second": 1.0, "float_input": 0.5}, {("first", "second"): 0.25}, int8=10.0)
    model = dataclasses.replace(cost_model(LAYERS), latency=table)
    choices = countable_model(LAYERS).choices(BITS, (8,), with_float=True)
    budget = Budget.model_validate({"latency": {"ratio_to_int8": 1.2}})
    (constraint,) = model.constraints(budget, choices)
    quantized = {"first": 2, "second": 8, "float_input": 4}
    assert constraint.total(quantized) == 10.0
    assert constraint.total({**quantized, "second": FLOAT_CHOICE, "float_input": FLOAT_CHOICE}) == pytest.approx(11.75)
    assert constraint.is_met({**quantized, "second": FLOAT_CHOICE})
    assert not constraint.is_met({**quantized, "first": FLOAT_CHOICE})
    # Not known before the layers were measured.
    assert cost_model(LAYERS).constraints(budget, choices) == []
    with pytest.raises(BudgetError) as caught:
        model.constraints(Budget.model_validate({"latency": {"ratio_to_int8": 0.9}}), choices)
    unit = "times the latency of int8, with float layers in f32"
    assert str(caught.value) == (
        f"{PATH}.latency.ratio_to_int8: found 0.9 {unit}, which no policy meets; reachable: 1 to 1.5 {unit}"
    )


def test_a_budget_in_bytes_before_the_other_bytes_are_known() -> None:
    model = dataclasses.replace(cost_model(LAYERS), fixed_bytes=None)
    with pytest.raises(BudgetError) as caught:
        model.size_limit(WeightSizeBudget(bytes=31), choices_of(LAYERS))
    assert str(caught.value) == (
        f"{PATH}.weight_size.bytes: found 31 bytes of the .bin, which no policy meets; "
        "reachable: 32 to 121 bytes of the .bin, without scales, biases and float constants"
    )


@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_zero_points_of_channels_are_stored_where_they_may_differ(mode: str) -> None:
    rows = [dataclasses.replace(item, rows=item.weights, columns=1) for item in LAYERS]
    config = load_config({"compression": {"weights": {"mode": mode, "isa": "vnni"}}}).compression.weights
    model = dataclasses.replace(cost_model(rows), weights=config)
    constraint = model.size_limit(WeightSizeBudget(bytes=10**6), choices_of(rows))
    for group, count in (("first", 101), ("second", 7), ("float_input", 13)):
        # 8 bits are symmetric in any case, and no bit-width counts less than a smaller one.
        expected = {bits: stored_bytes(count, bits) + (count if mode == "asymmetric" else 0) for bits in BITS}
        expected[8] = max(stored_bytes(count, 8), max(expected[bits] for bits in BITS if bits < 8))
        assert constraint.cost[group] == expected


def test_a_float_layer_is_stored_at_sixteen_bits() -> None:
    budget = Budget.model_validate({"weight_size": {"average_bits": 16}})
    choices = countable_model(LAYERS).choices(BITS, (8,), with_float=True)
    (constraint,) = cost_model(LAYERS).constraints(budget, choices)
    assert constraint.total(dict.fromkeys(choices, FLOAT_CHOICE)) == 16 * (101 + 7 + 13)
