"""Layers may stay in floating point where there is a budget of latency."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq import BudgetError, ConfigError, quantize
from nncf_mcq.config.schema import load_config
from nncf_mcq.latency import latency_key
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.sensitivity import count_sensitivity_passes, measure_sensitivities
from tests.latency.tables import make_table
from tests.models import (
    SAMPLE_SIZE,
    TABLE_BITS,
    as_dataset,
    make_task,
    random_images,
    small_calibrated_model,
    small_config,
    small_network,
)

METHODS = {
    "ilp": {"type": "ilp", "measured_widths": 1},
    "greedy": {"type": "greedy", "measured_widths": 1},
    "rl": {"type": "rl", "evaluations": 14},
    "tpe": {"type": "optuna", "sampler": "tpe", "evaluations": 14},
}


def float_task(extra: float = 1.0) -> PrecisionTask:
    """Each layer of the small network takes `extra` ms longer in float; all take 10 ms in int8."""
    task = make_task()
    groups = list(task.quantizable.groups)
    table = make_table(dict.fromkeys(groups, extra))
    return dataclasses.replace(
        task,
        choices=task.quantizable.choices(TABLE_BITS, (8,), with_float=True),
        costs=dataclasses.replace(task.costs, latency=table),
        errors={group: {**task.errors[group], FLOAT_CHOICE: 0.0} for group in groups},
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_limit_and_uses_it(method: str) -> None:
    budget = {"latency": {"ratio_to_int8": 1.2}, "weight_size": {"average_bits": 9}}
    config = small_config(**METHODS[method], budget=budget)
    initializer = PRECISION_INITIALIZERS.create(config.compression.initializer.precision)
    task = float_task()
    initializer.check(task.costs, task.choices)
    policy = initializer.find_policy(task).policy
    assert 1 <= len(policy.float_layers) <= 2
    assert task.costs.average_bits(policy) <= 9
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))).key == policy.key
    int8 = task.policy(dict.fromkeys(task.choices, 8))
    assert task.evaluator.score(policy) <= task.evaluator.score(int8)


def test_sensitivities_say_what_float_gains() -> None:
    task = float_task()
    found = measure_sensitivities(task, 1)
    # The int8 network, and of each layer the narrowest width and float.
    assert task.evaluator.evaluations == count_sensitivity_passes(task, 1) == 1 + 2 * len(task.choices)
    base = task.evaluator.score(task.policy(task.widest_quantized))
    for group, losses in found.items():
        assert list(losses) == [*TABLE_BITS, FLOAT_CHOICE]
        assert losses[2] >= losses[4] >= losses[8] >= losses[FLOAT_CHOICE] == 0.0
        alone = task.evaluator.score(task.policy({**task.widest_quantized, group: FLOAT_CHOICE}))
        assert losses[8] == pytest.approx(max(base - alone, 0.0))


def test_a_limit_below_int8_is_out_of_reach() -> None:
    config = small_config(type="ilp", budget={"latency": {"ratio_to_int8": 0.9}})
    task = float_task()
    initializer = PRECISION_INITIALIZERS.create(config.compression.initializer.precision)
    with pytest.raises(BudgetError, match=r"found 0\.9 times the latency of int8.* reachable: 1 to 1\.4 times"):
        initializer.check(task.costs, task.choices)


def test_the_whole_way(tmp_path: Path) -> None:
    """With a table of a file: the product holds float layers, is verified, and says that it was not measured here."""
    model = to_openvino(small_network(), SAMPLE_SIZE)
    quantizable = small_calibrated_model()[0].quantizable
    table = make_table(
        dict.fromkeys(quantizable.groups, 1.0), model=latency_key(quantizable, 1, "f32").model, precision="f32"
    )
    file = tmp_path / "table.json"
    file.write_text(table.to_json(), encoding="utf-8")
    budget: dict[str, dict[str, Any]] = {
        "latency": {"ratio_to_int8": 1.1, "table": str(file)},
        "weight_size": {"average_bits": 9},
    }
    config = small_config(type="ilp", measured_widths=1, budget=budget)
    result = quantize(model, as_dataset(random_images(12)), config)
    result.save(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    floats = [layer for layer in written["layers"] if layer["bits"] is None]
    assert [layer["name"] for layer in floats] == list(result.policy.float_layers)
    assert len(floats) == 1
    assert floats[0]["runtime_precision"] == "f32"
    ratios = written["search"]["latency"]["ratio_to_int8"]
    assert (ratios["limit"], ratios["predicted"], ratios["measured"]) == (1.1, pytest.approx(1.1), None)
    # The policy can be used again.
    again = small_config(type="manual", policy=str(tmp_path / "out" / "policy.json"))
    assert quantize(model, as_dataset(random_images(12)), again).policy.key == result.policy.key
    for key, value, message in (
        ("precision", "bf16", "a table of bf16, not f32"),
        ("table", str(tmp_path / "no.json"), "a file of `nncf-mcq latency-table` (no such file)"),
    ):
        latency = {**budget["latency"], key: value}
        with pytest.raises(ConfigError, match=re.escape(message)):
            quantize(model, as_dataset(random_images(2)), small_config(type="ilp", budget={"latency": latency}))


def test_activations_below_eight_bits_are_refused() -> None:
    data = small_config(type="ilp", budget={"latency": {"ratio_to_int8": 1.1}}).to_dict()
    data["compression"]["activations"]["bits"] = 4
    with pytest.raises(
        ConfigError, match=r"compression\.activations\.bits: found \[4\], allowed: 8 with a latency budget"
    ):
        quantize(to_openvino(small_network(), SAMPLE_SIZE), as_dataset(random_images(2)), load_config(data))
