"""Searches that choose the widths of activations as well as those of weights."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest

import nncf_mcq
from nncf_mcq import Policy
from nncf_mcq.config.budget import Budget
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import BudgetError, ConfigError
from nncf_mcq.ir.activations import ActivationGrid
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.pipeline.preparation import prepare
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.costs import Constraint, CostModel
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.ilp import solve
from nncf_mcq.precision_init.sensitivity import count_sensitivity_passes
from nncf_mcq.range_init.activation import relative_error
from nncf_mcq.result import QuantizationResult
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import (
    SAMPLE_SIZE,
    as_dataset,
    concat_model,
    countable_model,
    layer,
    random_images,
    small_network,
)

WIDTHS = (4, 6, 8)
BOPS: dict[str, Any] = {"bops": {"ratio": 0.35}}
SEARCHES: list[dict[str, Any]] = [
    {"type": "ilp"},
    {"type": "greedy"},
    {"type": "rl", "evaluations": 30},
    {"type": "rl", "agent": "ddpg", "warm_start": "none", "evaluations": 12},
    {"type": "optuna", "sampler": "tpe", "evaluations": 24},
    {"type": "optuna", "sampler": "cmaes", "evaluations": 24},
    {"type": "optuna", "sampler": "nsgaii", "warm_start": "none", "evaluations": 12},
]


def config_of(precision: dict[str, Any]) -> Config:
    return load_config(
        {
            "compression": {
                "weights": {"bits": [2, 4, 8]},
                "activations": {"bits": list(WIDTHS)},
                "correction": {"sequential": False},
                "initializer": {"precision": precision},
            },
            "runtime": {"threads": 1},
        }
    )


@cache
def quantized(index: int) -> QuantizationResult:
    precision = {**SEARCHES[index], "budget": BOPS}
    return nncf_mcq.quantize(
        small_network(),
        as_dataset(random_images(12)),
        config_of(precision),
        example_input=random_images(1),
        search_dataset=as_dataset(random_images(6, seed=1)),
    )


def bops_ratio(result: QuantizationResult) -> float:
    return result.metrics["quantized"]["bops"] / (64 * sum(item.macs or 0 for item in result.layers))


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(index, id=str(search), marks=[pytest.mark.slow] if search.get("evaluations") == 12 else [])
        for index, search in enumerate(SEARCHES)
    ],
)
def test_every_search_keeps_a_budget_of_bit_operations(index: int) -> None:
    result = quantized(index)
    assert bops_ratio(result) <= BOPS["bops"]["ratio"] * (1 + 1e-9)
    assert set(result.policy.activation_bits.values()) <= set(WIDTHS)


def test_the_optimum_uses_smaller_activations_where_the_budget_asks_for_it() -> None:
    result = quantized(0)
    assert len(set(result.policy.activation_bits.values())) > 1
    assert [item.activation_bits for item in result.layers] != [8] * len(result.layers)


def test_the_file_runs_in_int8_with_the_policys_grids(tmp_path: Any) -> None:
    # `save` reads the file back, and compares its outputs with those of the model that was scored, bit for bit.
    result = quantized(0)
    result.save(tmp_path)
    assert {item.runtime_precision for item in result.layers} <= {"i8", "u8"}


def test_what_is_not_searched_for_takes_the_largest_width() -> None:
    config = config_of({"type": "uniform", "bits": 4})
    result = nncf_mcq.quantize(small_network(), as_dataset(random_images(4)), config, example_input=random_images(1))
    assert set(result.policy.activation_bits.values()) == {8}


def test_a_budget_of_the_size_alone_leaves_activations_at_the_largest_width() -> None:
    precision = {"type": "ilp", "budget": {"weight_size": {"average_bits": 4}}}
    task = prepare(
        to_openvino(small_network(), SAMPLE_SIZE),
        random_images(12),
        config_of(precision).compression,
        config_of(precision).runtime,
        PRECISION_INITIALIZERS.create(config_of(precision).compression.initializer.precision),
        Stages(SilentProgress()),
    ).task()
    found = PRECISION_INITIALIZERS.create(config_of(precision).compression.initializer.precision).find_policy(task)
    # Each of them costs score, and none saves anything.
    assert set(found.policy.activation_bits.values()) == {8}
    weights, activations = len(task.quantizable.groups), len(task.quantizable.activation_groups)
    assert list(task.choices.values()).count(WIDTHS) == activations > 1
    assert count_sensitivity_passes(task, 1) == 1 + weights + activations
    for group in task.quantizable.activation_groups:
        narrow, middle, wide = (task.errors[group][bits] for bits in WIDTHS)
        assert narrow > middle > wide > 0


def test_the_policy_of_a_choice_leads_back_to_it() -> None:
    quantizable = model_of_four_layers()
    task = PrecisionTask(
        quantizable=quantizable,
        choices=quantizable.choices((2, 8), WIDTHS),
        activation_bits=8,
        errors={},
        costs=costs_of(quantizable),
        evaluator=Evaluator([], OutputScores([]), threads=1, batch_size=1),
    )
    for values in itertools.product(*task.choices.values()):
        choice = dict(zip(task.choices, values, strict=True))
        assert task.group_bits(task.policy(choice).key) == choice
    other = task.policy(task.widest)
    unread = Policy(other.weight_bits, {**other.activation_bits, next(iter(other.activation_bits)): 5})
    assert task.group_bits(unread.key) is None


def model_of_four_layers() -> QuantizableModel:
    return countable_model(
        [
            layer("first", 10, macs=7, inputs=["image"]),
            layer("second", 20, macs=3, inputs=["left", "right"]),
            layer("third", 30, macs=5, inputs=["right"]),
            layer("floating", 5, macs=2),
        ]
    )


def costs_of(quantizable: QuantizableModel) -> CostModel:
    names = [point.name for point in quantizable.activation_points]
    return CostModel(quantizable, dict.fromkeys(names, 8), lambda: 0)


def test_what_one_layer_reads_shares_its_width() -> None:
    quantizable = model_of_four_layers()
    assert quantizable.activation_groups == {"activation:image": ("image",), "activation:left": ("left", "right")}
    assert list(quantizable.choices((4,), (4, 8))) == [
        "activation:image",
        "first",
        "activation:left",
        "second",
        "third",
        "floating",
    ]
    assert list(quantizable.choices((4,), (8,))) == ["first", "second", "third", "floating"]


def test_bit_operations_are_products_of_both_widths() -> None:
    quantizable = model_of_four_layers()
    costs = costs_of(quantizable)
    choices = quantizable.choices((2, 8), WIDTHS)
    (total,) = costs.constraints(Budget.model_validate({"bops": {"total": 10_000}}), choices)
    for values in itertools.product(*choices.values()):
        bits = dict(zip(choices, values, strict=True))
        image, left = bits["activation:image"], bits["activation:left"]
        policy = Policy(
            {name: bits[name] for name in quantizable.groups}, {"image": image, "left": left, "right": left}
        )
        assert total.total(bits) == costs.bops(policy)
        marginal = total.marginal(bits)
        for group, width in itertools.product(bits, (2, 8)):
            if width in choices[group]:
                step = total.total({**bits, group: width}) - total.total(bits)
                assert step == pytest.approx(marginal[group][width] - marginal[group][bits[group]])
    with pytest.raises(BudgetError, match=r"reachable: 0\.\d+ to \d"):
        costs.constraints(Budget.model_validate({"bops": {"ratio": 0.01}}), choices)


@pytest.mark.parametrize("seed", range(5))
def test_the_program_finds_the_optimum_under_products(seed: int) -> None:
    random = np.random.default_rng(seed)
    choices = {"a": (4, 8), "x": (2, 4, 8), "b": (4, 6, 8), "y": (2, 8), "z": (2, 4, 8)}
    losses = {
        group: {bits: float(random.random()) * 4.0**-bits for bits in widths} for group, widths in choices.items()
    }
    cost = {group: {bits: float(bits) for bits in widths} for group, widths in choices.items()}
    products = {("x", "a"): 3.0, ("y", "b"): 1.0, ("z", "b"): 2.0}
    smallest, largest = Constraint("", "", cost, 0.0, 0.0, products=products).reachable
    for share in (0.0, 0.2, 0.5, 1.0):
        limit = Constraint("", "", cost, 0.0, smallest + share * (largest - smallest), products=products)
        feasible = [
            choice
            for values in itertools.product(*choices.values())
            if limit.is_met(choice := dict(zip(choices, values, strict=True)))
        ]

        def loss(choice: dict[str, int]) -> float:
            return sum(losses[group][bits] for group, bits in choice.items())

        assert loss(solve(losses, [limit])) == pytest.approx(min(map(loss, feasible)), rel=1e-4)


def test_a_relative_error_is_that_of_the_grid() -> None:
    precision = {"type": "ilp", "budget": BOPS}
    config = config_of(precision)
    initializer = PRECISION_INITIALIZERS.create(config.compression.initializer.precision)
    model = to_openvino(small_network(), SAMPLE_SIZE)
    stages = Stages(SilentProgress())
    calibrated = prepare(model, random_images(8), config.compression, config.runtime, initializer, stages).calibrated
    for point in calibrated.quantizable.activation_points:
        statistics = calibrated.statistics.activations[point.name]
        values = statistics.samples.double().numpy().ravel()
        for bits in WIDTHS:
            value_range = calibrated.activations.ranges(bits)[point.name]
            grid = ActivationGrid.from_thresholds(value_range.low, value_range.high, bits)
            levels = np.clip(np.rint((values - grid.low) / grid.step), 0, 2**bits - 1)
            expected = np.square(grid.low + levels * grid.step - values).sum() / np.square(values).sum()
            assert relative_error(statistics, value_range, bits) == pytest.approx(expected, rel=1e-3)


def test_inputs_of_a_concat_share_their_width() -> None:
    model = concat_model()
    groups = find_layers(model).activation_groups
    together = [members for members in groups.values() if len(members) > 1]
    assert together


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (9, "found 9"),
        ([], "found []"),
        ([4, 9], "found [4, 9]"),
        ("8", "found '8'"),
        (True, "found True"),
    ],
)
def test_impossible_widths_are_refused(bits: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"compression": {"activations": {"bits": bits}}})
    allowed = "allowed: 2 to 8, or a list of one or more of these widths"
    assert str(caught.value) == f"compression.activations.bits: {message}, {allowed}"
