from __future__ import annotations

import itertools
import math
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.trial import TrialState

import nncf_mcq
from nncf_mcq import ConfigError
from nncf_mcq.config.json_files import read_json
from nncf_mcq.metrics.metrics import kl_divergence, kl_divergences
from nncf_mcq.metrics.scores import ImageScore
from nncf_mcq.precision_init import IlpPrecision, OptunaPrecision, PrecisionResult, PrecisionTask, RlPrecision
from nncf_mcq.precision_init.search import POLICY_ATTRIBUTE
from nncf_mcq.precision_init.search.processes import PROCESS_ATTRIBUTE, mixed_seed
from nncf_mcq.precision_init.search.samplers import SAMPLER_NAMES, SamplerName
from nncf_mcq.precision_init.study import StoredSearch, StudyStorage
from nncf_mcq.precision_init.study.journal import SearchJournal
from tests.models import as_dataset, called_once, details_of, make_task, random_images, small_config, small_network

Array = NDArray[np.float32]
SIZE = {"weight_size": {"average_bits": 4}}
SENSITIVITIES = 1 + 4


class Killed(BaseException):
    """Ends a search where it stands, as far as that can be had within a process."""


class Counting(ImageScore):
    """The default score; counts the calls, and raises at the given one."""

    def __init__(self, last: int | None = None, error: type[BaseException] = Killed) -> None:
        super().__init__(self._count)
        self.calls = 0
        self._last = last
        self._error = error

    def _count(self, outputs: Array, reference: Array) -> NDArray[np.float64]:
        if self.calls == self._last:
            raise self._error
        self.calls += 1
        return kl_divergences(outputs, reference)


def find(task: PrecisionTask, **parameters: Any) -> PrecisionResult:
    values = {"type": "optuna", "budget": SIZE, "measured_widths": 1, "evaluations": 16, **parameters}
    return OptunaPrecision(OptunaPrecision.Parameters.model_validate(values)).find_policy(task)


def resume(path: Path, score: Callable[[Array, Array], float] | None = None) -> PrecisionTask:
    return make_task(score=score, storage=StudyStorage(path, mode="resume"))


def study_of(task: PrecisionTask) -> optuna.Study:
    assert task.stored is not None
    return task.stored.study()


@pytest.mark.parametrize(
    ("sampler", "killed_at"),
    [
        *(
            pytest.param(name, 11, marks=[] if name in ("tpe", "cmaes", "gp") else [pytest.mark.slow])
            for name in SAMPLER_NAMES
        ),
        *(("tpe", at) for at in (0, 3, SENSITIVITIES)),
    ],
)
def test_a_search_that_was_killed_is_resumed_to_the_same_total(
    sampler: SamplerName, killed_at: int, tmp_path: Path
) -> None:
    path = tmp_path / "study.journal"
    first = Counting(last=killed_at)
    with pytest.raises(Killed):
        find(make_task(score=first, storage=StudyStorage(path)), sampler=sampler)
    second = Counting()
    task = resume(path, second)
    result = find(task, sampler=sampler)
    assert (first.calls, second.calls) == (killed_at, 16 - killed_at)
    assert task.evaluator.evaluations == 16
    assert task.evaluator.origins == {"resumed": killed_at, "this_process": 16 - killed_at, "workers": 0}
    assert task.evaluator.score(result.policy) == details_of(result)["curve"][-1][1]
    assert task.costs.average_bits(result.policy) <= 4
    trials = study_of(task).get_trials(deepcopy=False)
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    starts = [trial for trial in trials if "fixed_params" in trial.system_attrs and trial.state == TrialState.COMPLETE]
    assert len(starts) == 1
    assert starts[0].value == result.details["warm_start_score"]


def test_a_finished_search_costs_nothing_and_can_be_extended(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    first = find(make_task(storage=StudyStorage(path)))
    score = Counting()
    again = find(resume(path, score))
    assert (again.policy, score.calls) == (first.policy, 0)
    assert again.details["curve"] == first.details["curve"]
    task = resume(path, score)
    longer = find(task, evaluations=25)
    assert (task.evaluator.evaluations, score.calls) == (25, 9)
    curve = details_of(first)["curve"]
    assert details_of(longer)["curve"][: len(curve)] == curve


def test_what_is_kept_finds_what_is_not_kept_finds(tmp_path: Path) -> None:
    plain, kept = find(make_task()), find(make_task(storage=StudyStorage(tmp_path / "study.journal")))
    assert kept.policy == plain.policy
    assert kept.details["curve"] == plain.details["curve"]


def test_ctrl_c_after_a_resumption_returns_the_best_of_both(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    first = find(make_task(storage=StudyStorage(path)))
    result = find(resume(path, Counting(last=0, error=KeyboardInterrupt)), evaluations=20)
    assert result.policy == first.policy
    assert result.details["interrupted"]


@pytest.mark.parametrize("agent", ["planning", "ddpg"])
def test_an_agent_goes_on_as_if_undisturbed_wherever_it_is_killed(agent: str, tmp_path: Path) -> None:
    """At any write: before and after a trial is begun, claimed, proposed, scored and told."""
    section = {"type": "rl", "agent": agent, "budget": SIZE, "measured_widths": 1, "evaluations": 14, "patience": None}
    parameters = RlPrecision.Parameters.model_validate(section)

    def search(storage: StudyStorage | None, score: ImageScore | None = None) -> tuple[PrecisionResult, list[Any]]:
        task = make_task(score=score, storage=storage)
        return RlPrecision(parameters).find_policy(task), task.evaluator.scores_from(0)

    expected, scores = search(None)
    for seed in range(2):
        random, path, kills = np.random.default_rng(seed), tmp_path / f"{seed}.journal", 0
        while True:
            storage = StudyStorage(path, mode="resume")
            # A process's own failures after its death do not reach the file.
            backend = DyingJournal(path, int(random.integers(1, 25)))
            storage._connection = JournalStorage(backend)
            try:
                found, found_scores = search(storage)
                break
            except Killed:
                kills += 1
        assert kills > 3
        assert found.policy == expected.policy
        assert found_scores == scores


class DyingJournal(SearchJournal):
    """Writes so many times, and nothing any more."""

    def __init__(self, path: Path, writes: int) -> None:
        super().__init__(path)
        self._left = writes

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed
        super().append_logs(logs)


def proposals(task: PrecisionTask) -> list[tuple[Any, ...]]:
    return [tuple(trial.params.values()) for trial in study_of(task).trials]


@pytest.mark.parametrize("mode", ["resume", "join"])
def test_a_sampler_that_comes_later_does_not_begin_with_the_first_proposals(mode: Any) -> None:
    storage = InMemoryStorage()
    options: dict[str, Any] = {"sampler": "random", "warm_start": "none"}
    first = make_task(storage=StudyStorage(storage))
    find(first, **options, evaluations=4)
    before = proposals(first)
    find(make_task(storage=StudyStorage(storage, mode=mode)), **options, evaluations=8)
    # After three proposals that are known already a random policy would take the turn.
    assert proposals(first)[len(before) :][:3] != before[:3]


def test_quasi_random_points_go_on_where_they_were() -> None:
    halves, whole = InMemoryStorage(), InMemoryStorage()
    options: dict[str, Any] = {"sampler": "qmc", "warm_start": "none", "budget": {"weight_size": {"average_bits": 8}}}
    first = make_task(storage=StudyStorage(halves))
    find(first, **options, evaluations=4)
    count = len(proposals(first))
    find(make_task(storage=StudyStorage(halves, mode="resume")), **options, evaluations=8)
    at_once = make_task(storage=StudyStorage(whole))
    find(at_once, **options, evaluations=8)
    # The first point is not of the sequence: the sampler does not know the space yet.
    assert len(proposals(at_once)) > count + 2
    assert proposals(first)[1 : count + 3] == proposals(at_once)[1 : count + 3]


def abandon(study: optuna.Study, process: Any, policy: dict[str, int] | None = None) -> int:
    trial = study.ask()
    if process is not None:
        trial.set_user_attr(PROCESS_ATTRIBUTE, process)
    if policy is not None:
        trial.set_user_attr(POLICY_ATTRIBUTE, policy)
    return trial.number


def dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_trials_of_dead_processes_of_this_host_are_ended(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    task = make_task(storage=StudyStorage(path))
    find(task, evaluations=8)
    study, host = study_of(task), socket.gethostname()
    known = dict.fromkeys(task.quantizable.groups, 8)
    unknown = dict.fromkeys(task.quantizable.groups, 4) | {next(iter(known)): 2}
    dead = {"host": host, "pid": dead_pid()}
    expected = {
        abandon(study, dead): (TrialState.FAIL, None),
        abandon(study, dead, unknown): (TrialState.FAIL, None),
        abandon(study, dead, known): (TrialState.COMPLETE, task.evaluator.known_score(task.policy(known))),
        abandon(study, {"host": host, "pid": os.getppid()}): (TrialState.RUNNING, None),
        abandon(study, {"host": f"not-{host}", "pid": dead["pid"]}): (TrialState.RUNNING, None),
        abandon(study, None): (TrialState.FAIL, None),
        abandon(study, {"host": host, "pid": "text"}): (TrialState.RUNNING, None),
    }
    assert task.evaluator.known_score(task.policy(unknown)) is None
    find(resume(path), evaluations=8)
    found = {trial.number: (trial.state, trial.value) for trial in study_of(resume(path)).trials}
    assert {number: found[number] for number in expected} == expected


def test_a_trial_says_whose_it_is_and_what_it_scores_before_the_score_is_known() -> None:
    seen: list[optuna.trial.FrozenTrial] = []
    storage = InMemoryStorage()

    def score(outputs: Array, reference: Array) -> float:
        seen.extend(study_of(task).trials[-1:])
        return kl_divergence(outputs, reference)

    task = make_task(score=called_once(score), storage=StudyStorage(storage))
    find(task, warm_start="none", evaluations=2)
    for trial in seen:
        assert trial.state == TrialState.RUNNING
        assert trial.user_attrs[PROCESS_ATTRIBUTE] == {"host": socket.gethostname(), "pid": os.getpid()}
    keys = [task.policy(trial.user_attrs[POLICY_ATTRIBUTE]).key for trial in seen]
    assert keys == [key for key, _ in task.evaluator.scores_from(0)]


def test_a_warm_start_whose_process_died_is_scored_after_all(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with pytest.raises(Killed):
        find(make_task(score=Counting(last=SENSITIVITIES), storage=StudyStorage(path)))
    states = [trial.state for trial in study_of(resume(path)).trials]
    assert states == [TrialState.FAIL]
    result = find(resume(path), evaluations=SENSITIVITIES + 1)
    assert result.details["warm_start_score"] == details_of(result)["curve"][0][1]


def test_a_warm_start_without_a_number_is_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    for evaluations in (8, 9, 10):
        calls = itertools.count()
        first = evaluations == 8

        def score(outputs: Array, reference: Array, calls: Any = calls, first: bool = first) -> float:
            nothing = first and next(calls) == SENSITIVITIES
            return math.nan if nothing else kl_divergence(outputs, reference)

        result = find(resume(path, called_once(score)), evaluations=evaluations)
        assert result.details["warm_start_score"] is None
    assert sum("fixed_params" in trial.system_attrs for trial in study_of(resume(path)).trials) == 1


def test_a_worker_shares_the_search_and_its_best_is_found(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    main_score, worker_score = Counting(), Counting()
    main = make_task(score=main_score, storage=StudyStorage(path))

    def help_once(done: int, total: int) -> None:
        # After the main process's sixth evaluation the worker scores all but one.
        if main.evaluator.evaluations == SENSITIVITIES + 2 and not worker_score.calls:
            find(make_task(score=worker_score, storage=StudyStorage(path, mode="join")), evaluations=23)

    object.__setattr__(main, "progress", help_once)
    result = find(main, evaluations=24)
    assert main.evaluator.evaluations == 24
    assert (main_score.calls, worker_score.calls) == (SENSITIVITIES + 3, 16)
    assert main.evaluator.origins == {"resumed": 0, "this_process": SENSITIVITIES + 3, "workers": 16}
    scores = [score for key, score in main.evaluator.scores_from(0) if feasible(main, key)]
    assert details_of(result)["curve"][-1][1] == min(scores) == main.evaluator.score(result.policy)


def feasible(task: PrecisionTask, key: Any) -> bool:
    return task.costs.average_bits(nncf_mcq.Policy(dict(key[0]), dict(key[1]))) <= 4


def test_seeds_differ_by_every_number() -> None:
    seeds = [mixed_seed(*numbers) for numbers in ((0, 1), (0, 2), (1, 1), (0, 1, 5))]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert mixed_seed(0, 1) == seeds[0]


def test_the_sensitivities_of_ilp_are_resumed(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    parameters = IlpPrecision.Parameters.model_validate({"type": "ilp", "budget": SIZE})
    with pytest.raises(Killed):
        IlpPrecision(parameters).find_policy(make_task(score=Counting(last=4), storage=StudyStorage(path)))
    score = Counting()
    task = resume(path, score)
    result = IlpPrecision(parameters).find_policy(task)
    assert (task.evaluator.evaluations, score.calls) == (9, 5)
    assert result == IlpPrecision(parameters).find_policy(make_task(score=Counting()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a finished search."""
    path = tmp_path_factory.mktemp("finished") / "study.journal"
    quantize(study_storage=path)
    return path


def quantize(images: int = 12, seed: int = 0, **options: Any) -> nncf_mcq.QuantizationResult:
    precision = {"type": "optuna", "budget": SIZE, "evaluations": 12, "measured_widths": 1}
    config = small_config(**{**precision, **options.pop("precision", {})})
    return nncf_mcq.quantize(small_network(seed), as_dataset(random_images(images)), config, **options)


def test_quantize_resumes_and_says_where_the_evaluations_come_from(tmp_path: Path) -> None:
    path = tmp_path / "out" / "study.journal"
    first = quantize(study_storage=path)
    assert first.search.storage is not None
    assert first.search.storage.to_dict() == {"location": str(path), "study": "nncf_mcq-1"}
    assert first.search.evaluations_of == {"resumed": 0, "this_process": 12, "workers": 0}
    again = quantize(study_storage=str(path), resume=True, precision={"evaluations": 15})
    assert again.search.evaluations_of == {"resumed": 12, "this_process": 3, "workers": 0}
    assert again.search.evaluations == 15
    again.save(tmp_path / "out")
    written = read_json(tmp_path / "out" / "result.json")
    assert written["search"]["storage"] == {"location": "study.journal", "study": "nncf_mcq-1"}
    assert quantize().search.storage is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "its search nncf_mcq-1 has another model: restore that"),
        ({"images": 11}, "its search nncf_mcq-1 has other images: restore that"),
        ({"precision": {"seed": 3}}, "has compression.initializer.precision.seed 0: restore that"),
        ({"score": lambda outputs, reference: 1.0}, "has score.0.type 'softened_kl': restore that"),
    ],
)
def test_quantize_refuses_to_resume_something_else(changes: Any, message: str, finished: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(finished, tmp_path))
    with pytest.raises(ConfigError, match=message):
        quantize(study_storage=path, resume=True, **changes)


def test_a_resumption_needs_a_storage() -> None:
    with pytest.raises(ConfigError, match="study_storage: found None, allowed: a journal file or a URL"):
        quantize(resume=True)


def test_stored_search_is_described() -> None:
    stored = make_task(storage=StudyStorage(InMemoryStorage())).stored
    assert isinstance(stored, StoredSearch)
    assert stored.location == "InMemoryStorage"
