from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
from optuna.trial import TrialState, create_trial

import nncf_mcq
from nncf_mcq import BudgetError
from nncf_mcq.config.budget import Budget
from nncf_mcq.precision_init import PrecisionResult, PrecisionTask, RlPrecision, RLSampler
from nncf_mcq.precision_init.rl import DdpgSampler
from nncf_mcq.precision_init.search import POLICY_ATTRIBUTE, SearchProblem, SearchSpace
from tests.models import as_dataset, details_of, make_task, random_images, small_config, small_network

SIZE = {"weight_size": {"average_bits": 4}}
BOTH = {"weight_size": {"average_bits": 5}, "bops": {"ratio": 0.45}}


def find(task: PrecisionTask, budget: Any = SIZE, **parameters: Any) -> PrecisionResult:
    values = {"type": "rl", "budget": budget, "evaluations": 25, **parameters}
    return RlPrecision(RlPrecision.Parameters.model_validate(values)).find_policy(task)


def make_problem() -> SearchProblem:
    task = make_task()
    constraints = task.costs.constraints(Budget.model_validate(SIZE), task.choices)
    space = SearchSpace(task.choices)
    return SearchProblem(task, space, constraints, None, task.errors, None, 20)


def make_sampler(seed: int = 0) -> RLSampler:
    return RLSampler(make_problem(), seed, None)


def value_of(policy: dict[str, int]) -> float:
    return float(sum((index + 1) * 4.0**-bits for index, bits in enumerate(policy.values())))


def run(study: optuna.Study, trials: int) -> None:
    space = make_problem().space
    for _ in range(trials):
        trial = study.ask()
        policy = space.suggest(trial)
        trial.set_user_attr(POLICY_ATTRIBUTE, policy)
        study.tell(trial, value_of(policy))


def policies(study: optuna.Study) -> list[Any]:
    return [trial.user_attrs[POLICY_ATTRIBUTE] for trial in study.trials]


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Left out is `MultiObjectiveSamplerTestCase`: a search has one score.

    The suites know nothing of groups: what they sample relatively is a space other than the problem's, where values are
    random. What the agent does in its own space is tested below.
    """

    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return make_sampler


def test_proposals_need_no_repair_and_values_are_integers_in_range() -> None:
    problem = make_problem()
    study = optuna.create_study(sampler=make_sampler())
    run(study, 20)
    for trial, policy in zip(study.trials, policies(study), strict=True):
        assert all(type(value) is int and 0 <= value <= 2 for value in trial.params.values())
        assert all(constraint.is_met(policy) for constraint in problem.constraints)
    assert len({tuple(policy.values()) for policy in policies(study)}) == 20


def test_a_fresh_sampler_goes_on_as_the_one_that_lived_through_the_study() -> None:
    whole = optuna.create_study(sampler=make_sampler())
    run(whole, 24)
    broken = optuna.create_study(sampler=make_sampler())
    run(broken, 13)
    broken.sampler = make_sampler()
    run(broken, 11)
    assert policies(broken) == policies(whole)
    other = optuna.create_study(sampler=make_sampler(seed=1))
    run(other, 24)
    assert policies(other) != policies(whole)


def test_it_learns_from_the_scored_policy_of_any_finished_trial() -> None:
    space = make_problem().space

    def proposal(*added: Any) -> dict[str, Any]:
        study = optuna.create_study(sampler=make_sampler())
        run(study, 10)
        for parameters, policy, state, value in added:
            study.add_trial(
                create_trial(
                    params=space.parameters(parameters),
                    distributions=space.distributions,
                    user_attrs={} if policy is None else {POLICY_ATTRIBUTE: policy},
                    state=state,
                    value=value,
                )
            )
        # The same number for all: randomness depends on it.
        trial = optuna.trial.FrozenTrial(
            99, TrialState.RUNNING, None, datetime.datetime.now(), None, {}, {}, {}, {}, {}, 99
        )
        return study.sampler.sample_relative(study, trial, space.distributions)

    low = dict.fromkeys(space.groups, 2)
    high = {**low, space.groups[0]: 8}
    plain = proposal()
    taught = proposal((low, high, TrialState.COMPLETE, 1e-9))
    assert taught != plain
    assert proposal((high, high, TrialState.COMPLETE, 1e-9)) == taught
    assert proposal((high, high, TrialState.FAIL, None)) == plain
    assert proposal((high, None, TrialState.COMPLETE, 1e-9)) == plain
    assert proposal((high, {**high, space.groups[0]: 7}, TrialState.COMPLETE, 1e-9)) == plain
    assert proposal((high, {"somebody": 8}, TrialState.COMPLETE, 1e-9)) == plain
    assert proposal((high, high, TrialState.COMPLETE, float("inf"))) == plain


def test_two_workers_do_not_propose_the_same() -> None:
    study = optuna.create_study(sampler=make_sampler())
    run(study, 10)
    space = make_problem().space
    first = study.ask()
    policy = space.suggest(first)
    first.set_user_attr(POLICY_ATTRIBUTE, policy)
    assert space.suggest(study.ask()) != policy


@pytest.mark.parametrize("agent", ["planning", "ddpg"])
@pytest.mark.parametrize("warm_start", ["ilp", "none"])
def test_each_agent_searches_within_the_budget_and_repeats_itself_for_a_seed(agent: str, warm_start: str) -> None:
    task = make_task()
    found = find(task, agent=agent, warm_start=warm_start)
    assert task.costs.average_bits(found.policy) <= 4
    assert task.evaluator.evaluations == 25
    assert found.details["agent"] == agent
    again = find(make_task(), agent=agent, warm_start=warm_start)
    assert (again.policy, again.details["curve"]) == (found.policy, found.details["curve"])


def test_several_limits_hold_at_once() -> None:
    task = make_task()
    found = find(task, BOTH)
    at_int8 = sum(layer.macs for layer in task.quantizable.layers) * 64
    assert task.costs.average_bits(found.policy) <= 5
    assert task.costs.bops(found.policy) <= 0.45 * at_int8
    assert found.details["repaired"] == 0


def test_a_limit_out_of_reach_names_what_is_reachable() -> None:
    with pytest.raises(BudgetError, match=re.escape("reachable: 2 to 8 bits")):
        find(make_task(), {"weight_size": {"average_bits": 1.5}})


def test_the_warm_start_is_scored_first_and_not_lost() -> None:
    found = find(make_task())
    details = details_of(found)
    assert details["warm_start_score"] == details["curve"][0][1]
    assert details["curve"][-1][1] <= details["curve"][0][1]


def test_ddpg_is_the_published_baseline() -> None:
    parameters = RlPrecision.Parameters.model_validate({"type": "rl", "agent": "ddpg", "budget": SIZE})
    assert isinstance(RlPrecision(parameters).make_sampler(make_problem()), DdpgSampler)


def test_the_json_entry_runs_end_to_end() -> None:
    config = small_config(type="rl", budget=SIZE, evaluations=12, seed=3)
    result = nncf_mcq.quantize(small_network(), as_dataset(random_images(12)), config)
    assert result.search.method == "rl"
    assert result.search.evaluations == 12
    assert result.metrics["quantized"]["average_weight_bits"] <= 4
    assert result.search.score is not None
    assert np.isfinite(result.search.score)
