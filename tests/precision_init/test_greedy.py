from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nncf_mcq
from nncf_mcq import BudgetError
from nncf_mcq.config.budget import Budget
from nncf_mcq.precision_init import GreedyPrecision, IlpPrecision, PrecisionResult, PrecisionTask, separable
from nncf_mcq.summaries.result import result_lines
from tests.models import TABLE_BITS, as_dataset, details_of, make_task, random_images, small_config, small_network

SIZE = {"weight_size": {"average_bits": 4}}


def find(task: PrecisionTask, budget: Mapping[str, Any] = SIZE, **parameters: Any) -> PrecisionResult:
    values = {"type": "greedy", "budget": budget, **parameters}
    return GreedyPrecision(GreedyPrecision.Parameters.model_validate(values)).find_policy(task)


def predicted(result: PrecisionResult, group_bits: Mapping[str, int]) -> float:
    return sum(details_of(result)["sensitivities"][group][str(bits)] for group, bits in group_bits.items())


def chosen(task: PrecisionTask, result: PrecisionResult) -> dict[str, int]:
    return {group: result.policy.weight_bits[group] for group in task.quantizable.groups}


@pytest.mark.parametrize("budget", [SIZE, {"bops": {"ratio": 0.4}}, {**SIZE, "bops": {"ratio": 0.4}}])
def test_the_policy_of_a_network_keeps_the_budget_and_no_width_is_lowered_for_nothing(budget: dict[str, Any]) -> None:
    task = make_task()
    result = find(task, budget)
    choice = chosen(task, result)
    constraints = task.costs.constraints(Budget.model_validate(budget), task.choices)

    def keeps(group_bits: Mapping[str, int]) -> bool:
        return all(constraint.is_met(group_bits) for constraint in constraints)

    assert keeps(choice)
    for group, bits in choice.items():
        assert not any(keeps({**choice, group: wider}) for wider in TABLE_BITS if wider > bits)
    assert result.policy.activation_bits == task.default_activation_bits()


def test_the_widths_that_are_kept_are_those_of_the_layers_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    sizes = {group: members[0].weights for group, members in task.quantizable.groups.items()}
    for needy in sizes:
        sensitivities = {
            # In proportion to the size all others cost the same for what they save.
            group: {bits: (size * (8 - bits) / 1000 if group != needy else 1e6 * (8 - bits)) for bits in TABLE_BITS}
            for group, size in sizes.items()
        }
        monkeypatch.setattr(separable, "measure_sensitivities", lambda *_, found=sensitivities: found)
        # What is left when all others have the lowest width.
        limit = (8 * sizes[needy] + 2 * (sum(sizes.values()) - sizes[needy])) / sum(sizes.values())
        choice = chosen(task, find(task, {"weight_size": {"average_bits": limit}}))
        assert choice == {group: 8 if group == needy else 2 for group in sizes}


@pytest.mark.parametrize("average_bits", [2.5, 3.0, 4.0, 5.0, 6.0])
def test_the_predicted_score_is_that_of_the_policy_and_near_the_optimum(average_bits: float) -> None:
    task = make_task()
    budget = {"weight_size": {"average_bits": average_bits}}
    result = find(task, budget)
    score = details_of(result)["predicted_score"]
    assert score == pytest.approx(predicted(result, chosen(task, result)))
    ilp = IlpPrecision(IlpPrecision.Parameters.model_validate({"type": "ilp", "budget": budget})).find_policy(task)
    assert ilp.details["sensitivities"] == result.details["sensitivities"]
    assert details_of(ilp)["predicted_score"] <= score * (1 + 1e-6)
    (constraint,) = task.costs.constraints(Budget.model_validate(budget), task.choices)
    groups = list(task.quantizable.groups)
    choices = (dict(zip(groups, bits, strict=True)) for bits in itertools.product(*task.choices.values()))
    feasible = sorted(predicted(result, choice) for choice in choices if constraint.is_met(choice))
    assert score <= np.quantile(feasible, 0.15)


def test_a_loose_budget_lowers_nothing() -> None:
    task = make_task()
    assert set(find(task, {"weight_size": {"average_bits": 8}}).policy.weight_bits.values()) == {8}


@pytest.mark.parametrize(("measured", "widths"), [(1, 1), (None, 2)])
def test_only_the_sensitivities_are_scored(measured: int | None, widths: int) -> None:
    task = make_task()
    find(task, measured_widths=measured)
    assert task.evaluator.evaluations == 1 + widths * len(task.quantizable.groups)


def test_a_budget_out_of_reach_is_an_error_before_anything_is_scored() -> None:
    def score(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
        raise AssertionError

    with pytest.raises(BudgetError, match=r"found 1\.9 bits, which no policy meets; reachable: 2 to 8 bits"):
        find(make_task(score=score), {"weight_size": {"average_bits": 1.9}})


def test_a_network_is_quantized_as_the_configuration_says() -> None:
    config = small_config(type="greedy", budget=SIZE, measured_widths=1)
    assert nncf_mcq.load_config(config.to_dict()) == config
    result = nncf_mcq.quantize(small_network(), as_dataset(random_images(12)), config)
    assert result.search.method == "greedy"
    assert result.metrics["quantized"]["average_weight_bits"] <= 4
    details = json.loads(json.dumps(result.to_dict()))["search"]["details"]
    assert set(details) == {"sensitivities", "predicted_score", "widest_score"}
    assert 0 < details["widest_score"] < result.search.score
    (line,) = [line for line in result_lines(result, Path()) if line.startswith("  distance from the float model ")]
    assert line.endswith(f"with the largest bit-widths everywhere {details['widest_score']:.4g}")
