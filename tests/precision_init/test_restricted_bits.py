"""A layer that can have some bit-widths only: every precision initializer, budgets and their messages cope with it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq import BudgetError, quantize
from nncf_mcq.result import QuantizationResult
from nncf_mcq.summaries.result import result_lines
from tests.models import make_model, random_constant

ENTRIES, OTHERS = 7 * 5, 5 * 24 + 24 * 16
SMALLEST = (8 * ENTRIES + 2 * OTHERS) / (ENTRIES + OTHERS)


@functools.cache
def model() -> ov.Model:
    """An embedding of 35 weights, which have 8 bits, and two layers of 504 that may have any."""

    def build(data: ov.Node) -> ov.Node:
        indices = opset.convert(data, "i32")
        values = opset.gather(random_constant(7, 5), indices, opset.constant(np.int32(0)), name="embedding")
        values = opset.relu(opset.matmul(values, random_constant(5, 24, seed=1), False, False, name="first"))
        values = opset.matmul(values, random_constant(24, 16, seed=2), False, False, name="second")
        return opset.reduce_mean(values, opset.constant([1]), False)

    return make_model(build, (1, 6))


def quantized(**precision: Any) -> QuantizationResult:
    numbers = np.random.default_rng(0).integers(0, 7, (12, 1, 6)).astype(np.float32)
    config = {
        "compression": {
            "weights": {"bits": [2, 4, 6]},
            "correction": {"sequential": "budget" not in precision},
            "initializer": {"precision": precision},
        },
        "runtime": {"threads": 1, "batch_size": 1},
    }
    return quantize(model(), nncf.Dataset(list(numbers)), config)


SEARCHES: list[dict[str, Any]] = [
    {"type": "ilp"},
    {"type": "greedy"},
    *({"type": name, "evaluations": 8, "warm_start": start} for name in ("rl",) for start in ("ilp", "none")),
    *({"type": "optuna", "sampler": name, "evaluations": 8} for name in ("tpe", "cmaes", "nsgaii", "random")),
]


def searches_and_budgets() -> Iterator[Any]:
    """Bits for each kind of search; samplers propose within the same space, and all searches count bytes in one way."""
    for search in SEARCHES:
        name = "-".join(str(item) for item in search.values())
        marks = [pytest.mark.slow] if search.get("sampler", "tpe") not in ("tpe", "cmaes") else []
        yield pytest.param(search, {"average_bits": 4}, id=f"{name}-average_bits", marks=marks)
        marks = [] if name in ("ilp", "optuna-tpe-8") else [pytest.mark.slow]
        yield pytest.param(search, {"bytes": 800}, id=f"{name}-bytes", marks=marks)


@pytest.mark.parametrize(("search", "budget"), searches_and_budgets())
def test_searches_keep_the_budget(search: dict[str, Any], budget: dict[str, int], tmp_path: Any) -> None:
    result = quantized(**search, budget={"weight_size": budget})
    bits = result.policy.weight_bits
    assert bits["embedding"] == 8
    assert {bits["first"], bits["second"]} <= {2, 4, 6}
    if "average_bits" in budget:
        assert result.metrics["quantized"]["average_weight_bits"] <= 4
    else:
        assert result.save(tmp_path).with_suffix(".bin").stat().st_size <= budget["bytes"] + 8


def test_a_budget_below_what_the_layer_takes_names_what_can_be_reached() -> None:
    smallest = f"reachable: {SMALLEST:.6g} to {(8 * ENTRIES + 6 * OTHERS) / (ENTRIES + OTHERS):.6g} bits"
    with pytest.raises(BudgetError, match=smallest):
        quantized(type="ilp", budget={"weight_size": {"average_bits": 2.2}})


@pytest.mark.parametrize(
    "precision",
    [{"type": "uniform", "bits": 4}, {"type": "manual", "default_bits": 4, "bitwidth_per_scope": [[2, "embedding"]]}],
)
def test_fixed_bits_leave_the_layer_at_what_it_can_have_and_say_so(precision: dict[str, Any], tmp_path: Any) -> None:
    result = quantized(**precision)
    assert result.policy.weight_bits == {"embedding": 8, "first": 4, "second": 4}
    result.save(tmp_path)
    lines = list(result_lines(result, tmp_path))
    assert "embedding has 8 bits: of an embedding only 8 are supported" in lines
    # It is looked up: no kernel of its own counts.
    assert {layer.name: layer.float_cause for layer in result.layers}["embedding"] is None
