"""`autotune` over budgets and goals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from neural_compressor.torch.quantization import TuningConfig, autotune, get_all_config_set

from nncf_mcq import ConfigError
from nncf_mcq.inc import MixedClippingConfig, QuantizedModule
from tests.hosts.inc.conftest import FISHER

Run = Callable[[torch.nn.Module], None]
Evaluate = Callable[[torch.nn.Module], float]


def counted(evaluate: Evaluate, seen: list[float]) -> Evaluate:
    def evaluation(model: torch.nn.Module) -> float:
        seen.append(evaluate(model))
        return seen[-1]

    return evaluation


def test_the_first_budget_that_keeps_the_metric_is_taken(
    model: torch.nn.Module, calibrate: Run, evaluate: Evaluate
) -> None:
    seen: list[float] = []
    # With two bits everywhere the network is lost, with six it is not; eight are never tried.
    tuning = TuningConfig(config_set=[MixedClippingConfig(average_bits=[2.0, 6.0, 8.0], **FISHER)], tolerable_loss=0.05)
    best = autotune(model, tuning, counted(evaluate, seen), run_fn=calibrate)
    assert isinstance(best, QuantizedModule)
    floating, lost, kept = seen
    assert lost < 0.95 * floating <= kept
    assert 5 < best.result.metrics["quantized"]["average_weight_bits"] <= 6
    assert evaluate(best) == kept


def test_the_best_of_goals_is_taken_where_none_keeps_the_metric(
    model: torch.nn.Module, calibrate: Run, evaluate: Evaluate
) -> None:
    seen: list[float] = []
    config = MixedClippingConfig(goal=[{"kl": 0.001}, {"kl": 1.0}], **FISHER)
    tuning = TuningConfig(config_set=[config], tolerable_loss=-1.0)
    best = autotune(model, tuning, counted(evaluate, seen), run_fn=calibrate)
    _, strict, loose = seen
    assert loose < strict == evaluate(best)
    report = best.result.search.goal
    assert report is not None
    assert report.limit == 0.001


def test_lists_are_tried_with_what_is_said_of_modules(model: torch.nn.Module) -> None:
    config = MixedClippingConfig(average_bits=[2.0, 3.0], activation_bits=[[4], [4, 8]], white_list=["stem", "blocks"])
    config.set_local("classifier", MixedClippingConfig(dtype="fp32"))
    found = config.expand()
    assert [(item.average_bits, item.activation_bits) for item in found] == [
        *((2.0, [4]), (2.0, [4, 8])),
        *((3.0, [4]), (3.0, [4, 8])),
    ]
    for item in found:
        assert set(item.local_config) == {"stem", "blocks", "classifier"}
        assert item.local_config["stem"].average_bits == item.average_bits
        assert item.local_config["classifier"].dtype == "fp32"


def test_a_list_for_autotune_is_refused_elsewhere(model: torch.nn.Module, calibrate: Run) -> None:
    with pytest.raises(ConfigError, match=r"average_bits: found \[2.0, 3.0\], allowed: one value; a list"):
        MixedClippingConfig(average_bits=[2.0, 3.0]).configuration()


def test_a_list_of_another_type_is_refused_before_anything_is_quantized(
    model: torch.nn.Module, calibrate: Run, evaluate: Evaluate
) -> None:
    seen: list[float] = []
    parameters: dict[str, Any] = {"average_bits": ["two", "three"]}
    tuning = TuningConfig(config_set=[MixedClippingConfig(**parameters)])
    with pytest.raises(ConfigError, match=r"mixed_clipping.average_bits: found \['two', 'three'\], allowed: one value"):
        autotune(model, tuning, counted(evaluate, seen), run_fn=calibrate)
    assert len(seen) == 1


def test_it_is_among_all_configs_for_tuning() -> None:
    (own,) = [config for config in get_all_config_set() if isinstance(config, MixedClippingConfig)]
    sizes: list[Any] = [config.average_bits for config in own.expand()]
    assert sizes == sorted(sizes)
    assert len(sizes) > 1
