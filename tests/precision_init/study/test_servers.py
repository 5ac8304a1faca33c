"""Storages on real servers: opened by several at once, and used while the server is killed and started again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import numpy as np
import optuna
import pytest

from nncf_mcq import ConfigError, Policy
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.precision_init.study.databases import open_database
from tests.database_servers import SERVERS

SUBJECT = Subject("model", "images", {"bits": [2, 4]})
POLICIES = [Policy({"layer": bits, "other": more}, {}) for bits in range(2, 9) for more in range(2, 9)]
THREADS = 4

pytestmark = pytest.mark.slow


def in_threads(work: Callable[[], None], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Runs the same several times at once; any error is the test's."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kind", ["PostgreSQL", "MariaDB"])
def test_many_open_a_new_database_at_once(kind: str) -> None:
    with SERVERS[kind]() as server:
        barrier = threading.Barrier(THREADS)

        def work() -> None:
            barrier.wait()
            study = optuna.create_study(storage=open_database(server.url), study_name="one", load_if_exists=True)
            for number in range(5):
                study.tell(study.ask(), float(number))

        in_threads(work)
        trials = optuna.load_study(storage=open_database(server.url), study_name="one").trials
    assert [trial.number for trial in trials] == list(range(5 * THREADS))


@pytest.mark.parametrize("kind", SERVERS)
def test_each_policy_is_scored_once_while_the_server_is_killed_again_and_again(kind: str) -> None:
    with SERVERS[kind]() as server:
        first = StudyStorage(server.url).start(SUBJECT)
        won: list[Policy] = []

        def work() -> None:
            # A connection of its own, as a process has.
            search = StudyStorage(server.url, mode="join").start(SUBJECT)
            study = search.study()
            for policy in random.Random(threading.get_ident()).sample(POLICIES, len(POLICIES)):
                trial = study.ask()
                if search.memo.claim(policy):
                    search.memo.put(policy, np.ones(3, np.float32))
                    won.append(policy)
                trial.suggest_int("bits", 2, 8)
                study.tell(trial, 1.0, skip_if_finished=True)

        def kill_it() -> None:
            for _ in range(3):
                time.sleep(1)
                server.kill()
                server.start()

        in_threads(work, kill_it)
        keys = sorted(policy.key for policy in POLICIES)
        assert sorted(policy.key for policy in won) == keys
        records = [key for key, _ in first.memo.refresh()]
        assert sorted(set(records)) == keys
        # Written again where the acknowledgement was lost.
        assert len(records) <= len(keys) + 3 * THREADS
        finished = first.study().get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        assert len(finished) == THREADS * len(POLICIES)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_trial_goes_on_after_a_restart(kind: str) -> None:
    with SERVERS[kind]() as server:
        study = StudyStorage(server.url).start(SUBJECT).study()
        # Reads no trials, of which a proxy that was restarted would learn.
        study.sampler = optuna.samplers.RandomSampler()
        trial = study.ask()
        server.kill()
        server.start()
        trial.suggest_int("bits", 2, 8)
        study.tell(trial, 1.0)
        assert [found.value for found in study.trials] == [1.0]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_away_at_the_start_is_one_message(kind: str) -> None:
    with SERVERS[kind]() as server:
        server.kill()
        with pytest.raises(
            ConfigError, match=r"study_storage: found '.*127\.0\.0\.1.*', allowed: a journal file, or"
        ) as caught:
            StudyStorage(server.url)
    message = str(caught.value)
    assert "\n" not in message
    assert "cret" not in message
