from __future__ import annotations

import datetime
import functools
import pickle
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from nncf_mcq.precision_init.rl.ddpg.agent import DdpgAgent
from nncf_mcq.precision_init.rl.ddpg.algorithm import WARM_UP, DdpgSampler
from nncf_mcq.precision_init.rl.ddpg.features import group_features
from nncf_mcq.precision_init.rl.ddpg.replay import Replay
from nncf_mcq.precision_init.search import SearchInitializer, SearchProblem, SearchSpace, quiet_optuna
from nncf_mcq.precision_init.search.processes import NO_NUMBER_ATTRIBUTE, POLICY_ATTRIBUTE
from nncf_mcq.utils.torch_threads import one_torch_thread
from tests.models import countable_model, details_of, layer, make_task, small_calibrated_model
from tests.precision_init.rl.ddpg.problems import FINE_WIDTHS, ScoreOf, counted_problem, random_trial, split


def add_episodes(study: optuna.Study, space: SearchSpace, count: int, score_of: ScoreOf = split) -> list[float]:
    """Episodes of the study's own sampler; their scores."""
    scores = []
    with one_torch_thread():
        for _ in range(count):
            trial = study.ask()
            choice = space.suggest(trial)
            score = score_of(np.array(list(choice.values())))
            trial.set_user_attr(POLICY_ATTRIBUTE, choice)
            study.tell(trial, score)
            scores.append(score)
    return scores


def new_study(
    problem: SearchProblem, seed: int = 0, direction: Literal["minimize", "maximize"] = "minimize"
) -> optuna.Study:
    with quiet_optuna():
        return optuna.create_study(sampler=DdpgSampler(problem, seed), direction=direction)


def study_of(
    problem: SearchProblem, trials: list[FrozenTrial], direction: Literal["minimize", "maximize"] = "minimize"
) -> optuna.Study:
    study = new_study(problem, direction=direction)
    study.add_trials(trials)
    return study


def propose(sampler: optuna.samplers.BaseSampler, study: optuna.Study, number: int = 1000) -> dict[str, Any]:
    """What the sampler proposes for a trial of that number, whatever numbers the study is at."""
    trial = optuna.trial.create_trial(value=0.0)
    trial.number = number
    with one_torch_thread():
        return sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))


def fresh_proposals(problem: SearchProblem, study: optuna.Study, seed: int = 0) -> list[dict[str, Any]]:
    """Of a sampler that is new to the study, for several trials."""
    sampler = DdpgSampler(problem, seed)
    return [propose(sampler, study, number) for number in range(1000, 1005)]


def random_trials() -> list[FrozenTrial]:
    """Trials after which the agent has learned."""
    space = counted_problem(3, bits=FINE_WIDTHS).space
    return [random_trial(space, seed) for seed in range(WARM_UP + 4)]


@functools.cache
def proposals_after_random_trials() -> list[dict[str, Any]]:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    return fresh_proposals(problem, study_of(problem, random_trials()))


def test_scores_fall_as_the_agent_learns() -> None:
    problem = counted_problem(6, 160)
    scores = add_episodes(new_study(problem), problem.space, 160)
    assert np.mean(scores[-40:]) < 0.4 * np.mean(scores[:WARM_UP])


def test_without_training_scores_stay_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the test before relies on: it is the training that lowers the scores, not the noise that vanishes.
    monkeypatch.setattr(DdpgAgent, "learn", lambda self: None)
    problem = counted_problem(6, 160)
    scores = add_episodes(new_study(problem), problem.space, 160)
    assert np.mean(scores[-40:]) > 0.6 * np.mean(scores[:WARM_UP])


def test_a_maximized_study_is_the_mirror_of_a_minimized_one() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    negated = [random_trial(problem.space, seed, lambda bits: -split(bits)) for seed in range(WARM_UP + 4)]
    found = proposals_after_random_trials()
    assert fresh_proposals(problem, study_of(problem, negated, "maximize")) == found
    assert fresh_proposals(problem, study_of(problem, negated)) != found


def test_a_new_sampler_knows_what_one_that_lived_through_the_study_knows() -> None:
    problem = counted_problem(4, bits=FINE_WIDTHS)
    study = new_study(problem)
    study.enqueue_trial(dict.fromkeys(problem.space.groups, 1))
    add_episodes(study, problem.space, WARM_UP + 3)
    study.add_trial(random_trial(problem.space, 1))
    study.tell(study.ask(), state=TrialState.FAIL)
    running = study.ask()
    add_episodes(study, problem.space, 3)
    # It ends after trials that began later: the order is that of the ends.
    running.set_user_attr(POLICY_ATTRIBUTE, problem.space.suggest(running))
    study.tell(running, 1.0)
    add_episodes(study, problem.space, 3)
    lived = [propose(study.sampler, study, number) for number in range(1000, 1005)]
    assert fresh_proposals(problem, study) == lived
    assert len({tuple(proposal.values()) for proposal in lived}) > 1


def test_a_trial_that_becomes_known_late_is_learned_from_at_its_place() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    study = new_study(problem)
    add_episodes(study, problem.space, WARM_UP + 3)
    propose(study.sampler, study)
    late = random_trial(problem.space, 0)
    third = study.get_trials()[2].datetime_complete
    assert third is not None
    late.datetime_complete = third + datetime.timedelta(microseconds=1)
    late.datetime_start = third
    study.add_trial(late)
    lived = [propose(study.sampler, study, number) for number in range(1000, 1005)]
    assert fresh_proposals(problem, study) == lived
    # The same trials in another order are other knowledge, or this test could not fail.
    last = study_of(problem, [*study.get_trials()[:-1], random_trial(problem.space, 0)])
    assert fresh_proposals(problem, last) != lived


def test_a_sampler_forgets_one_study_in_another() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    first = study_of(problem, [random_trial(problem.space, seed) for seed in range(WARM_UP + 4)])
    second = study_of(problem, [random_trial(problem.space, seed) for seed in range(100, 103)])
    sampler = DdpgSampler(problem, 0)
    propose(sampler, first)
    assert propose(sampler, second) == fresh_proposals(problem, second)[0]


def test_the_same_seed_takes_the_same_way_and_another_one_another() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    studies = [new_study(problem, seed) for seed in (7, 7, 8)]
    for study in studies:
        add_episodes(study, problem.space, WARM_UP + 5)
    ways = [[trial.params for trial in study.get_trials(deepcopy=False)] for study in studies]
    assert ways[0] == ways[1]
    # From the first random episode on.
    assert ways[0][0] != ways[2][0]


def test_global_randomness_is_neither_read_nor_disturbed() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        states = torch.get_rng_state(), pickle.dumps(np.random.get_state())
        study = new_study(problem)
        add_episodes(study, problem.space, WARM_UP + 3)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert pickle.dumps(np.random.get_state()) == states[1]
        found.append(propose(study.sampler, study))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "change",
    [
        {"state": TrialState.FAIL, "value": None, "user_attrs": {NO_NUMBER_ATTRIBUTE: True}},
        {"state": TrialState.RUNNING, "value": None},
        {"state": TrialState.PRUNED},
        {"user_attrs": {}},
        {"value": float("inf")},
    ],
    ids=["failed", "running", "pruned", "without policy", "infinite"],
)
def test_trials_that_say_nothing_are_ignored(change: Mapping[str, Any]) -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    study = study_of(problem, random_trials())
    known = proposals_after_random_trials()
    study.add_trial(random_trial(problem.space, 99, **change))
    assert fresh_proposals(problem, study) == known
    study.add_trial(random_trial(problem.space, 99))
    assert fresh_proposals(problem, study) != known


def test_a_trial_that_a_killed_process_left_takes_no_number() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    trials = [random_trial(problem.space, seed) for seed in range(4)]
    study, left = study_of(problem, trials), study_of(problem, trials)
    left.add_trial(random_trial(problem.space, 99, state=TrialState.FAIL, value=None))
    sampler = DdpgSampler(problem, 0)
    assert propose(sampler, left, 5) == propose(sampler, study, 4)


def test_what_was_scored_is_learned_from_and_not_what_was_proposed() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    space = problem.space
    known = proposals_after_random_trials()
    highest = {group: len(widths) - 1 for group, widths in space.choices.items()}
    proposed = [random_trial(space, seed, params=highest) for seed in range(WARM_UP + 4)]
    assert fresh_proposals(problem, study_of(problem, proposed)) == known
    lowest = {POLICY_ATTRIBUTE: dict.fromkeys(space.groups, 2)}
    repaired = [random_trial(space, seed, user_attrs=lowest) for seed in range(WARM_UP + 4)]
    assert fresh_proposals(problem, study_of(problem, repaired)) != known


def test_the_first_episodes_are_random_and_the_last_ones_nearly_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DdpgAgent, "learn", lambda self: None)
    problem = counted_problem(4, trials=60)

    def spread(episodes: int) -> float:
        """Standard deviation of the proposed indices over many trials, the mean over the groups."""
        study = study_of(problem, [random_trial(problem.space, seed) for seed in range(episodes)])
        sampler = DdpgSampler(problem, 0)
        proposals = [list(propose(sampler, study, number).values()) for number in range(300)]
        assert set(np.array(proposals).ravel()) <= set(range(7))
        return float(np.std(proposals, axis=0).mean())

    # The standard deviation of the numbers 0 to 6, each alike, is 2.
    assert spread(0) == pytest.approx(2, abs=0.1)
    assert spread(WARM_UP - 1) == pytest.approx(2, abs=0.1)
    # Half of the range around the middle, cut at its ends.
    assert 1.7 < spread(WARM_UP) < 1.95
    assert 0.3 < spread(WARM_UP + 20) < 1.4
    assert spread(60) < 0.3


def test_random_episodes_are_not_of_the_agent() -> None:
    problem = counted_problem(3, bits=FINE_WIDTHS)
    trials = [random_trial(problem.space, seed) for seed in range(WARM_UP)]
    before = fresh_proposals(problem, study_of(problem, []))
    assert fresh_proposals(problem, study_of(problem, trials[:-1])) == before
    assert fresh_proposals(problem, study_of(problem, trials)) != before


def test_a_state_is_the_layer_and_the_width_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = counted_problem(3)
    features = group_features(problem.task.quantizable, problem.space.groups)
    acted, observed = [], []
    original = DdpgAgent.observe

    def observe(self: Any, states: Any, actions: Any, score: float) -> None:
        observed.append((states, actions, score))
        original(self, states, actions, score)

    def act(self: Any, state: Any) -> float:
        acted.append(state)
        return 0.5

    monkeypatch.setattr(DdpgAgent, "observe", observe)
    monkeypatch.setattr(DdpgAgent, "act", act)
    policy = dict(zip(problem.space.groups, (2, 8, 4), strict=True))
    trial = random_trial(problem.space, 0, value=3.0, user_attrs={POLICY_ATTRIBUTE: policy})
    proposal = propose(DdpgSampler(problem, 0), study_of(problem, [trial] * WARM_UP))
    states, actions, score = observed[0]
    np.testing.assert_allclose(states, np.column_stack((features, [1, 2 / 8, 1])), rtol=1e-6)
    np.testing.assert_allclose(actions, [0.5 / 7, 6.5 / 7, 2.5 / 7], rtol=1e-6)
    assert score == 3.0
    widths = [problem.space.choices[group][index] for group, index in proposal.items()]
    np.testing.assert_allclose(acted, np.column_stack((features, [1, widths[0] / 8, widths[1] / 8])), rtol=1e-6)


def test_equal_scores_are_no_reason_to_change() -> None:
    problem = counted_problem(2)
    trials = [random_trial(problem.space, seed, lambda bits: 0.1) for seed in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fresh_proposals(problem, study_of(problem, trials))
    # The actor begins in the middle.
    assert all(set(proposal.values()) <= {2, 3, 4} for proposal in found)


def test_a_single_width_or_group_is_no_mistake() -> None:
    problem = counted_problem(1)
    add_episodes(new_study(problem), problem.space, WARM_UP + 2)
    single = SearchProblem(**{**vars(problem), "space": SearchSpace(dict.fromkeys(problem.space.groups, (4,)))})
    study = new_study(single)
    add_episodes(study, single.space, WARM_UP + 2)
    assert {trial.params["layer0"] for trial in study.get_trials()} == {0}


class DdpgSearch(SearchInitializer):
    """As an initializer uses the sampler."""

    class Parameters(SearchInitializer.Parameters):
        type: Literal["test_of_ddpg"] = "test_of_ddpg"

    def make_sampler(self, problem: SearchProblem) -> DdpgSampler:
        return DdpgSampler(problem, self.parameters.seed)


@pytest.mark.parametrize("warm_start", ["ilp", "none"])
def test_a_search_keeps_the_budget_and_counts_its_evaluations(warm_start: str) -> None:
    task = make_task()
    values = {
        "type": "test_of_ddpg",
        "budget": {"weight_size": {"average_bits": 4}, "bops": {"ratio": 0.6}},
        "evaluations": 30,
        "warm_start": warm_start,
    }
    result = DdpgSearch(DdpgSearch.Parameters.model_validate(values)).find_policy(task)
    assert task.evaluator.evaluations == 30
    assert task.costs.average_bits(result.policy) <= 4
    assert task.costs.bops(result.policy) <= 0.6 * sum(item.macs for item in task.quantizable.layers) * 64
    assert task.evaluator.score(result.policy) == details_of(result)["curve"][-1][1]
    assert task.evaluator.evaluations == 30
    if warm_start == "ilp":
        assert task.evaluator.score(result.policy) <= details_of(result)["warm_start_score"]


def test_the_features_are_those_of_the_layers() -> None:
    columns = {
        "position": [0, 1, 2, 3],
        "depthwise": [0, 1, 0, 0],
        "input channels": [3, 8, 8, 8],
        "output channels": [8, 8, 8, 5],
        "stride": [2, 1, 1, 0],
        "kernel": [3, 3, 1, 1],
        "weights": [216, 72, 64, 40],
        "positions": [64, 16, 16, 1],
    }
    quantizable = small_calibrated_model()[0].quantizable
    features = group_features(quantizable, tuple(quantizable.groups))
    assert features.shape == (4, 9)
    for (name, values), column in zip(columns.items(), features.T[:-1], strict=True):
        expected = (np.array(values) - min(values)) / (max(values) - min(values))
        np.testing.assert_allclose(column, expected, err_msg=name)


def test_a_group_is_described_once_and_a_column_without_difference_is_zero() -> None:
    quantizable = countable_model([layer("a", 10), layer("b", 10, group="a"), layer("c", 30)])
    features = group_features(quantizable, tuple(quantizable.groups))
    np.testing.assert_array_equal(features, [[0] * 9, [1, 0, 1, 0, 0, 0, 1, 0, 0]])


def test_the_memory_holds_the_latest_episodes_step_by_step() -> None:
    replay = Replay(episodes=2, steps=3, state_size=1)
    for episode in range(3):
        first = 10 * episode
        replay.add(
            np.array([[first], [first + 1], [first + 2]], np.float32),
            np.array([0.1, 0.2, 0.3], np.float32) + np.float32(episode),
            float(episode),
        )
    assert replay.episodes == 3
    assert sorted(replay.scores()) == [1, 2]
    batch = replay.sample(np.random.default_rng(0), 6)
    rows = sorted(
        zip(
            *(
                [round(float(value), 3) for value in values.ravel()]
                for values in (batch.states, batch.actions, batch.scores, batch.next_states, batch.continues)
            ),
            strict=True,
        )
    )
    assert rows == [
        (10, 1.1, 1, 11, 1),
        (11, 1.2, 1, 12, 1),
        (12, 1.3, 1, 12, 0),
        (20, 2.1, 2, 21, 1),
        (21, 2.2, 2, 22, 1),
        (22, 2.3, 2, 22, 0),
    ]
    assert len(replay.sample(np.random.default_rng(0), 64).states) == 64


def test_several_objectives_are_an_error() -> None:
    problem = counted_problem(2)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=DdpgSampler(problem, 0))
    with pytest.raises(ValueError, match="the study has several objectives, DdpgSampler needs one"):
        study.ask().suggest_int("layer0", 0, 6)
