from __future__ import annotations

import functools
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray

import nncf_mcq
from nncf_mcq import BudgetError, ConfigError
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.precision_init import IlpPrecision, OptunaPrecision, PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.estimate import ImageScores
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.search import Repair, SearchSpace, predicted_losses, quiet_optuna, run_search
from nncf_mcq.precision_init.search.samplers import SAMPLER_NAMES, SamplerName, make_sampler
from nncf_mcq.precision_init.sensitivity import affordable_widths
from tests.models import (
    as_dataset,
    countable_model,
    details_of,
    layer,
    make_task,
    random_images,
    small_config,
    small_network,
)

SIZE = {"weight_size": {"average_bits": 4}}
BOTH = {"weight_size": {"average_bits": 5}, "bops": {"ratio": 0.45}}


def find(task: PrecisionTask, budget: Any = SIZE, **parameters: Any) -> PrecisionResult:
    values = {"type": "optuna", "budget": budget, **parameters}
    return OptunaPrecision(OptunaPrecision.Parameters.model_validate(values)).find_policy(task)


@functools.cache
def found(sampler: SamplerName, warm_start: str) -> tuple[PrecisionTask, PrecisionResult]:
    """25 of the 81 policies of the small network."""
    task = make_task()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return task, find(task, sampler=sampler, evaluations=25, warm_start=warm_start, measured_widths=1)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
@pytest.mark.parametrize("warm_start", ["ilp", "none"])
def test_every_sampler_meets_the_budget_with_exactly_the_evaluations(
    sampler: SamplerName, warm_start: str, capfd: pytest.CaptureFixture[str]
) -> None:
    task, result = found(sampler, warm_start)
    assert task.costs.average_bits(result.policy) <= 4
    assert task.evaluator.evaluations == 25
    assert result.policy.activation_bits == task.default_activation_bits()
    assert task.evaluator.score(result.policy) == details_of(result)["curve"][-1][1]
    assert task.evaluator.evaluations == 25
    # Optuna's lines begin with their level and date.
    assert not re.search(r"\[[DIWEC] \d{4}-", capfd.readouterr().err)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_warm_start_is_never_worse_than_ilp(sampler: SamplerName) -> None:
    task, result = found(sampler, "ilp")
    parameters = IlpPrecision.Parameters.model_validate({"type": "ilp", "budget": SIZE, "measured_widths": 1})
    score = task.evaluator.score(IlpPrecision(parameters).find_policy(task).policy)
    assert task.evaluator.evaluations == 25
    assert result.details["warm_start_score"] == score
    assert task.evaluator.score(result.policy) <= score


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_the_same_seed_finds_the_same_on_the_same_way(sampler: SamplerName) -> None:
    first = found(sampler, "ilp")[1]
    again = find(make_task(), sampler=sampler, evaluations=25, measured_widths=1)
    assert again.policy == first.policy
    without_time = [{k: v for k, v in result.details.items() if k != "seconds"} for result in (first, again)]
    assert without_time[0] == without_time[1]


def test_another_seed_takes_another_way() -> None:
    details = [
        find(make_task(), sampler="random", evaluations=12, warm_start="none", seed=seed).details for seed in (0, 1)
    ]
    assert details[0]["curve"] != details[1]["curve"]


def test_details_are_json_and_say_how_the_policy_was_found() -> None:
    _, result = found("tpe", "ilp")
    details = json.loads(json.dumps(dict(result.details)))
    assert details == dict(result.details)
    assert (details["sampler"], details["seed"], details["interrupted"]) == ("tpe", 0, False)
    assert details["trials"] == 25 - (1 + 4) + details["repeated"]
    assert details["curve"][0] == [6, details["warm_start_score"]]
    assert details["seconds"]["sampler"] > 0 < details["seconds"]["scoring"]
    assert found("tpe", "none")[1].details["warm_start_score"] is None


def test_several_budgets_hold_together() -> None:
    task = make_task()
    result = find(task, BOTH, evaluations=20, warm_start="none")
    at_int8 = sum(item.macs for item in task.quantizable.layers) * 64
    assert task.costs.average_bits(result.policy) <= 5
    assert task.costs.bops(result.policy) <= 0.45 * at_int8


def test_a_budget_out_of_reach_is_an_error_before_anything_is_scored() -> None:
    task = make_task()
    with pytest.raises(BudgetError, match=r"found 1\.9 bits, which no policy meets; reachable: 2 to 8 bits"):
        find(task, {"weight_size": {"average_bits": 1.9}})
    assert task.evaluator.evaluations == 0


@pytest.mark.parametrize(("evaluations", "widths"), [(5, 1), (4, None), (1, 3)])
def test_too_few_evaluations_for_the_sensitivities_are_an_error(evaluations: int, widths: int | None) -> None:
    task = make_task()
    needed = 1 + 4
    message = (
        f"compression.initializer.precision.evaluations: found {evaluations}, allowed: at least {needed + 1}, since "
        f"the sensitivities of 4 groups take {needed}; none with"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        find(task, evaluations=evaluations, measured_widths=widths)
    assert task.evaluator.evaluations == 0
    find(task, evaluations=needed + 1, measured_widths=widths)
    assert task.evaluator.evaluations == needed + 1


@pytest.mark.parametrize(("evaluations", "widths"), [(6, 1), (9, 1), (10, 2), (100, 2)])
def test_as_many_widths_are_measured_as_leave_evaluations(evaluations: int, widths: int) -> None:
    assert affordable_widths(make_task(), None, evaluations) == widths
    assert affordable_widths(make_task(), 1, evaluations) == 1


def test_a_warm_start_that_is_scored_already_is_the_result_of_a_loose_budget() -> None:
    task = make_task()
    result = find(task, {"weight_size": {"average_bits": 8}}, evaluations=10, measured_widths=2)
    assert result.details["warm_start_score"] == task.evaluator.score(
        task.policy(dict.fromkeys(task.quantizable.groups, 8))
    )
    assert task.evaluator.evaluations == 10


def synthetic_task(groups: int, evaluate: Callable[[NDArray[np.int64]], float]) -> PrecisionTask:
    """A task whose scores are a function of the groups' bits; no model is run."""

    class Synthetic(Evaluator):
        def _run(self, policy: nncf_mcq.Policy, threads: int) -> ImageScores:
            return np.array([evaluate(np.array(list(policy.weight_bits.values())))], np.float32)

    bits = (2, 3, 4, 5, 6, 7, 8)
    quantizable = countable_model([layer(f"layer{index}", 100 + 37 * index) for index in range(groups)])
    return PrecisionTask(
        quantizable=quantizable,
        choices=quantizable.choices(bits, (8,)),
        activation_bits=8,
        errors={name: {width: 4.0**-width for width in bits} for name in quantizable.groups},
        costs=CostModel(quantizable, {}, lambda: 0),
        evaluator=Synthetic([], OutputScores([]), threads=1, batch_size=1),
    )


def quadratic(bits: NDArray[np.int64]) -> float:
    """Least where the odd layers have 6 bits and the others 3."""
    return float(np.square(bits - np.where(np.arange(len(bits)) % 2, 6, 3)).sum())


@functools.cache
def synthetic_score(sampler: SamplerName) -> float:
    """Of the best of 60 policies."""
    task = synthetic_task(8, quadratic)
    loose = {"weight_size": {"average_bits": 7}}
    return task.evaluator.score(find(task, loose, sampler=sampler, evaluations=60, warm_start="none").policy)


@pytest.mark.parametrize("sampler", [name for name in SAMPLER_NAMES if name not in ("qmc", "random")])
def test_samplers_that_learn_find_more_than_random_ones(sampler: SamplerName) -> None:
    assert synthetic_score(sampler) < 0.8 * synthetic_score("random")


# A Gaussian process reads every completed trial as TPE does, but on a plain it also explores as far away.
@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsgaii"])
def test_samplers_that_learn_see_the_warm_start(sampler: SamplerName) -> None:
    # The best point lies in a hollow of an even plain: without the warm start little points to it.
    task = synthetic_task(10, lambda bits: 0.0)
    space = SearchSpace(task.choices)
    best = np.array([6, 0] * 5)
    start = dict(zip(space.groups, best.tolist(), strict=True))
    repair = Repair(space, [], predicted_losses(task))
    distances: dict[bool, list[float]] = {}
    for warm in (True, False):
        task = synthetic_task(10, lambda bits: min(float(np.square(bits - 2 - best).sum()), 60.0))
        with quiet_optuna():
            study = optuna.create_study(sampler=make_sampler(sampler, 0, 80, start if warm else None))
            if warm:
                study.enqueue_trial(start)
            run_search(task, study, space, repair, evaluations=40, seed=0)
        points = [list(trial.params.values()) for trial in study.get_trials(deepcopy=False)]
        distances[warm] = np.square(np.array(points) - best).sum(axis=1).tolist()[20:]
    assert np.mean(distances[True]) < 0.75 * np.mean(distances[False])


def test_cma_es_needs_two_groups() -> None:
    message = "precision.sampler: found 'cmaes', allowed: any other sampler, since there is a single group"
    with pytest.raises(ConfigError, match=re.escape(message)):
        find(synthetic_task(1, quadratic), sampler="cmaes")


@pytest.mark.parametrize("sampler", [name for name in SAMPLER_NAMES if name != "cmaes"])
def test_a_single_group_is_searched_to_its_end(sampler: SamplerName) -> None:
    task = synthetic_task(1, quadratic)
    assert find(task, sampler=sampler, warm_start="none").policy.weight_bits == {"layer0": 3}
    assert task.evaluator.evaluations == 3


def test_the_configuration_is_read_and_written() -> None:
    precision = {"type": "optuna", "sampler": "gp", "budget": SIZE, "evaluations": 50, "measured_widths": None}
    config = small_config(**precision)
    written = config.to_dict()["compression"]["initializer"]["precision"]
    assert written["sampler"] == "gp"
    assert nncf_mcq.load_config(config.to_dict()) == config
    assert small_config(type="optuna", budget=SIZE).compression.initializer.precision.model_dump() == {
        "type": "optuna",
        "budget": {"weight_size": {"average_bits": 4.0, "bytes": None, "ratio": None}, "bops": None, "latency": None},
        "sampler": "tpe",
        "evaluations": 200,
        "seed": 0,
        "warm_start": "ilp",
        "measured_widths": 2,
        "patience": None,
        "time_limit": None,
    }
    with pytest.raises(ConfigError, match=r"precision\.sampler: found 'rl', allowed: .*'tpe', 'gp', 'cmaes', 'nsgaii'"):
        small_config(type="optuna", budget=SIZE, sampler="rl")


def test_a_network_is_quantized_with_the_policy_of_a_search() -> None:
    config = small_config(type="optuna", budget=SIZE, evaluations=14, measured_widths=1)
    result = nncf_mcq.quantize(small_network(), as_dataset(random_images(12)), config)
    assert result.search.method == "optuna"
    assert result.search.evaluations == 14
    assert result.search.score == result.search.details["curve"][-1][1]
    assert result.metrics["quantized"]["average_weight_bits"] <= 4
    assert json.loads(json.dumps(result.to_dict()))["search"]["details"]["sampler"] == "tpe"
