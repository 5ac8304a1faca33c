from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from nncf_mcq import ConfigError, Policy
from nncf_mcq.precision_init.estimate import ImageScores, mean_score, to_text
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.precision_init.study.memo import IMAGE_SCORES, SCORED_POLICY
from tests.models import make_evaluator, make_task, small_calibrated_model

SUBJECT = Subject("model", "images", {"bits": [2, 4]})
OTHER = Subject("another", "images", {"bits": [2, 4]})
POLICIES = [Policy({"layer": bits}, {"input": 8}) for bits in (2, 4, 8)]


def of_images(values: Sequence[float]) -> ImageScores:
    return np.array(values, np.float32)


@pytest.fixture(params=["journal", "sqlite", "in memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return {
        "journal": tmp_path / "folder" / "study.journal",
        "sqlite": f"sqlite:///{tmp_path / 'study.db'}",
        "in memory": InMemoryStorage(),
    }[request.param]


def test_scores_are_found_again(place: Any) -> None:
    first = StudyStorage(place).start(SUBJECT)
    scores = [of_images(values) for values in ([0.1, 0.2], [math.nan, 0.5], [math.inf, 1e-30])]
    for policy, values in zip(POLICIES, scores, strict=True):
        first.memo.put(policy, values)
    again = StudyStorage(place, mode="resume").start(SUBJECT)
    assert (again.name, again.mode, first.name, first.mode) == ("nncf_mcq-1", "resume", "nncf_mcq-1", "new")
    found = again.memo.refresh()
    assert [key for key, _ in found] == [policy.key for policy in POLICIES]
    for (_, values), expected in zip(found, scores, strict=True):
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected)
    assert again.memo.refresh() == []
    first.memo.put(Policy({"layer": 3}), of_images([1.0]))
    assert again.memo.refresh() == [(Policy({"layer": 3}).key, [1.0])]
    assert first.study().study_name == again.study().study_name == "nncf_mcq-1"


def test_what_is_no_score_is_passed_over(tmp_path: Path) -> None:
    stored = StudyStorage(tmp_path / "study.journal").start(SUBJECT)
    study = stored.memo._study
    policy = POLICIES[0].to_dict()
    for attributes in (
        {},
        {SCORED_POLICY: 3, IMAGE_SCORES: to_text(of_images([1.0]))},
        {SCORED_POLICY: policy},
        {SCORED_POLICY: policy, IMAGE_SCORES: "?"},
        {SCORED_POLICY: policy, IMAGE_SCORES: to_text(of_images([]))},
    ):
        study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs=attributes))
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs={SCORED_POLICY: policy, IMAGE_SCORES: to_text(of_images([1.0]))}
        )
    )
    stored.memo.put(POLICIES[1], of_images([2.0]))
    assert stored.memo.refresh() == [(POLICIES[1].key, [2.0])]


def test_scores_are_trials_with_their_mean_or_failed_ones(tmp_path: Path) -> None:
    stored = StudyStorage(tmp_path / "study.journal").start(SUBJECT)
    stored.memo.put(POLICIES[0], of_images([1.0, 2.0]))
    stored.memo.put(POLICIES[1], of_images([1.0, math.nan]))
    found = [(trial.state, trial.value) for trial in stored.memo._study.trials]
    assert found == [(TrialState.COMPLETE, 1.5), (TrialState.FAIL, None)]
    assert len(stored.memo.refresh()) == 2


def test_nothing_to_resume_is_a_fresh_start(place: Any) -> None:
    assert StudyStorage(place, mode="resume").start(SUBJECT).mode == "new"


def test_a_new_search_leaves_an_earlier_one_and_says_so(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = StudyStorage(place).start(SUBJECT)
    assert caplog.messages == []
    first.memo.put(POLICIES[0], of_images([1.0]))
    with caplog.at_level(logging.WARNING):
        second = StudyStorage(place).start(SUBJECT)
    assert second.name == "nncf_mcq-2"
    assert (
        "an earlier search, nncf_mcq-1 with 1 evaluations: it is left unchanged, and nncf_mcq-2 starts" in caplog.text
    )
    # Whoever is still at work on the first does not meet the second.
    first.memo.put(POLICIES[1], of_images([2.0]))
    assert second.memo.refresh() == []
    assert StudyStorage(place, mode="resume").start(SUBJECT).name == "nncf_mcq-2"
    assert len(StudyStorage(place, mode="resume", name="nncf_mcq-1").start(SUBJECT).memo.refresh()) == 2


def test_several_subjects_share_a_storage(place: Any) -> None:
    for subject in (SUBJECT, OTHER):
        StudyStorage(place).start(subject)
    assert StudyStorage(place, mode="resume").start(SUBJECT).name == "nncf_mcq-1"
    assert StudyStorage(place, mode="join").start(OTHER).name == "nncf_mcq-2"


@pytest.mark.parametrize(("mode", "remedy"), [("resume", "start a new search"), ("join", "name that search's storage")])
def test_another_subject_is_refused(place: Any, mode: Any, remedy: str) -> None:
    StudyStorage(place).start(SUBJECT)
    with pytest.raises(ConfigError) as caught:
        StudyStorage(place, mode=mode, seconds=60).start(OTHER)
    message = f"its search nncf_mcq-1 has another model: restore that, or {remedy}"
    assert message in str(caught.value)


def test_a_search_can_be_named(place: Any) -> None:
    StudyStorage(place).start(SUBJECT)
    assert StudyStorage(place, name="mine").start(OTHER).name == "mine"
    assert StudyStorage(place, name="mine", mode="resume").start(OTHER).mode == "resume"
    assert StudyStorage(place, name="yours", mode="resume").start(OTHER).mode == "new"
    with pytest.raises(ConfigError, match="study_name: found 'mine', allowed: a name that is not used in "):
        StudyStorage(place, name="mine").start(SUBJECT)


def test_a_search_that_began_but_did_not_say_what_it_is_about_is_passed_over(place: Any) -> None:
    first = StudyStorage(place).start(SUBJECT)
    first.memo.put(POLICIES[0], of_images([1.0]))
    optuna.create_study(storage=first._storage, study_name="nncf_mcq-2-scores")
    assert StudyStorage(place, mode="resume").start(SUBJECT).name == "nncf_mcq-1"
    assert StudyStorage(place).start(SUBJECT).name == "nncf_mcq-3"


def test_a_worker_waits_for_a_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "folder" / "study.journal"
    found = []
    worker = threading.Thread(
        target=lambda: found.append(StudyStorage(path, mode="join", seconds=30).start(SUBJECT).name)
    )
    worker.start()
    time.sleep(0.2)
    StudyStorage(path).start(SUBJECT)
    worker.join()
    assert found == ["nncf_mcq-1"]
    assert caplog.messages == [f"waiting up to 30 s for a search to start in {path}"]


def test_a_worker_gives_up_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "study.journal"
    with pytest.raises(ConfigError, match=r"a storage in which a search has started; waited 0\.1 s for it"):
        StudyStorage(path, mode="join", seconds=0.1).start(SUBJECT)
    assert list(tmp_path.iterdir()) == []


def test_opening_alone_writes_nothing(tmp_path: Path) -> None:
    StudyStorage(tmp_path / "folder" / "study.journal", mode="resume")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "allowed: a journal file, or a URL of an Optuna storage such as sqlite:///study.db"),
        ("file.txt", "allowed: a journal file, or a URL"),
        ("broken.journal", "allowed: a journal file, or a URL"),
        ("file.txt/study.journal", "allowed: a file in a folder; "),
        ("nonsense://me:secret@host/base", "found 'nonsense://me:***@host/base', allowed: "),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("redis://me:secret@localhost:1", "found 'redis://me:***@localhost:1', allowed: "),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_message(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("some text")
    (tmp_path / "broken.journal").write_text('{"op_code":0,\n{"op_code":0,\n')
    before = (tmp_path / "file.txt").read_bytes()
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        StudyStorage(place if "://" in place else tmp_path / place)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file.txt").read_bytes() == before


def test_an_evaluator_counts_what_others_scored_and_never_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    task = make_task()
    policies = [task.policy({**dict.fromkeys(task.quantizable.groups, 8), g: 2}) for g in task.quantizable.groups]
    memo = StudyStorage(path).start(SUBJECT).memo
    first = make_evaluator(memo=memo)
    scores = first.score_many(policies[:2])
    calibrated, table = small_calibrated_model()
    built = []

    def build(policy: Policy) -> ov.Model:
        built.append(policy)
        return calibrated.build(policy, table)

    second = make_evaluator(memo=StudyStorage(path, mode="resume").start(SUBJECT).memo, build=build, threads=2)
    assert second.origins == {"resumed": 2, "this_process": 0, "workers": 0}
    first.score(policies[2])
    assert second.evaluations == 2
    assert second.score_many(policies)[:2] == scores
    assert built == [policies[3]]
    assert second.origins == {"resumed": 2, "this_process": 1, "workers": 1}
    first.refresh()
    assert first.evaluations == 4
    assert [key for key, _ in second.scores_from(1)] == [policy.key for policy in policies[1:]]


def test_scores_of_all_threads_are_written_at_once(tmp_path: Path) -> None:
    task = make_task()
    policies = [
        task.policy({**dict.fromkeys(task.quantizable.groups, 8), g: b})
        for g in task.quantizable.groups
        for b in (2, 4)
    ]
    evaluator = make_evaluator(memo=StudyStorage(tmp_path / "a.journal").start(SUBJECT).memo, threads=4)
    counts = []

    def look() -> None:
        reader = StudyStorage(tmp_path / "a.journal", mode="resume").start(SUBJECT).memo
        counts.append(len(reader.refresh()))

    evaluator.score_many(policies, look)
    assert all(count >= index for index, count in enumerate(counts, start=1))
    found = dict(StudyStorage(tmp_path / "a.journal", mode="resume").start(SUBJECT).memo.refresh())
    assert list(map(mean_score, found.values())) == [dict(evaluator.scores_from(0))[key] for key in found]
    assert set(found) == {policy.key for policy in policies}
