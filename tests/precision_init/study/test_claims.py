"""Of several processes that share a search, one runs a policy."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nncf_mcq import Policy
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.precision_init.study.claims import CLAIM, CLAIMANT, CLAIMED_POLICY, Claims
from nncf_mcq.precision_init.study.databases import open_database
from nncf_mcq.precision_init.study.memo import StudyMemo

SUBJECT = Subject("model", "images", {"bits": [2, 4]})
POLICIES = [Policy({"layer": bits, "other": more}, {}) for bits in range(2, 9) for more in range(2, 5)]


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_each_policy_has_one_winner(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "s.journal" if kind == "journal" else f"sqlite:///{tmp_path / 's.db'}"
    StudyStorage(place).start(SUBJECT)
    won: list[list[Policy]] = [[], [], []]
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(won))

    def work(found: list[Policy]) -> None:
        try:
            # A connection of its own, as a process has.
            memo = StudyStorage(place, mode="join").start(SUBJECT).memo
            barrier.wait()
            found.extend(policy for policy in POLICIES if memo.claim(policy))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(found,)) for found in won]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    keys = [policy.key for found in won for policy in found]
    assert sorted(keys) == sorted(policy.key for policy in POLICIES)


def test_nothing_is_claimed_until_a_worker_joins(tmp_path: Path) -> None:
    place = tmp_path / "s.journal"
    main = StudyStorage(place).start(SUBJECT).memo
    assert main.claim(POLICIES[0])
    assert "claim" not in place.read_text()
    worker = StudyStorage(place, mode="join").start(SUBJECT).memo
    assert worker.claim(POLICIES[0])
    assert not main.claim(POLICIES[0])
    # Its own again, as after an interruption.
    assert worker.claim(POLICIES[0])
    assert main.claim(POLICIES[1])
    assert not worker.claim(POLICIES[1])


def test_a_study_without_claims_has_one_process() -> None:
    assert StudyMemo(optuna.create_study()).claim(POLICIES[0])


@pytest.mark.parametrize(("host", "is_free"), [(socket.gethostname(), True), ("another", False)])
def test_the_claim_of_a_dead_process_of_this_host_is_void(host: str, is_free: bool) -> None:
    with subprocess.Popen(["true"]) as process:
        dead = {"host": host, "pid": process.pid}
    study = optuna.create_study()
    attributes = {CLAIM: "its", CLAIMANT: dead, CLAIMED_POLICY: POLICIES[0].to_dict()}
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attributes))
    assert Claims(study).take(POLICIES[0]) is is_free


def test_many_open_a_new_sqlite_file_at_once_and_write_to_it(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    for attempt in range(3):
        url = f"sqlite:///{tmp_path}/{attempt}.db"
        barrier = threading.Barrier(4)

        def work(url: str = url, barrier: threading.Barrier = barrier) -> None:
            try:
                barrier.wait()
                study = optuna.create_study(storage=open_database(url), study_name="one", load_if_exists=True)
                for number in range(10):
                    study.tell(study.ask(), float(number))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        trials = optuna.load_study(storage=url, study_name="one").trials
        assert [trial.number for trial in trials] == list(range(40))
    assert not errors
