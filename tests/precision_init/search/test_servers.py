"""A search in several processes on real servers of databases, which are killed and started again meanwhile."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from nncf_mcq.errors import StorageError
from nncf_mcq.job import Job
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init.study import patience, quiet_optuna
from nncf_mcq.precision_init.study.claims import CLAIMANT, CLAIMED_POLICY
from nncf_mcq.precision_init.study.databases import open_database
from nncf_mcq.precision_init.study.memo import SCORED_POLICY
from tests.commands import SECONDS, finish, start, write_config
from tests.database_servers import SERVERS, Server, grpc_proxy

EVALUATIONS = 80
SENSITIVITIES = 1 + 4 * 3
WORKERS = 4

VARIABLE = "NNCF_MCQ_STUDY_STORAGE"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """At 7 bit-widths and 4 layers it has 2401 policies."""
    return write_config(tmp_path, {"type": "optuna", "evaluations": EVALUATIONS, "measured_widths": 3})


@pytest.fixture
def proxy() -> Iterator[Server]:
    with grpc_proxy() as server:
        yield server


class Reader:
    """Reads a search as any other process could."""

    def __init__(self, url: str) -> None:
        with quiet_optuna():
            self._storage = open_database(url)

    def _trials(self, suffix: str) -> list[optuna.trial.FrozenTrial]:
        if f"nncf_mcq-1{suffix}" not in [study.study_name for study in self._storage.get_all_studies()]:
            return []
        return optuna.load_study(study_name=f"nncf_mcq-1{suffix}", storage=self._storage).get_trials(deepcopy=False)

    def scored(self) -> list[PolicyKey]:
        """The policies of all records."""
        return [Policy.from_dict(trial.user_attrs[SCORED_POLICY]).key for trial in self._trials("-scores")]

    def claimed_by(self, pid: int) -> set[PolicyKey]:
        """The policies that a process ever claimed."""
        return {
            Policy.from_dict(trial.user_attrs[CLAIMED_POLICY]).key
            for trial in self._trials("-claims")
            if trial.user_attrs[CLAIMANT]["pid"] == pid
        }

    def wait_for(self, count: int) -> list[PolicyKey]:
        """The records, once there are so many."""
        deadline = time.monotonic() + SECONDS
        while len(found := self.scored()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_worker_and_the_server_are_killed(kind: str, config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    with SERVERS[kind]() as server:
        environment = {VARIABLE: server.url}
        workers = [start(project_root, "worker", config, environment=environment) for _ in range(WORKERS)]
        for worker in workers:
            assert worker.stderr is not None
            assert any(line.startswith("waiting up to 600 s") for line in worker.stderr)
        main = start(project_root, "quantize", config, "--output", output, "--json", environment=environment)
        reader = Reader(server.url)
        before = reader.wait_for(SENSITIVITIES + 5)
        killed, *others = workers
        killed.kill()
        killed.communicate()
        before = reader.wait_for(len(before) + 10)
        server.kill()
        assert main.poll() is None
        time.sleep(2)
        server.start()
        printed = [finish(process) for process in (main, *others)]
        after = reader.scored()
        claimed = reader.claimed_by(killed.pid)

    search = json.loads(printed[0][0])["search"]
    unique = set(after)
    # None is lost: what was stored stays, and what was being scored is stored when the server is back.
    assert set(before) <= unique
    own = [int(re.findall(r"(\d+) policies scored here", out)[0]) for out, _ in printed[1:]]
    of_killed = len(unique) - sum(own) - search["evaluations_of"]["this_process"]
    assert 0 <= of_killed <= len(claimed)
    assert claimed
    # None is counted twice; the last evaluation of each may be begun before another's is known.
    assert EVALUATIONS <= search["evaluations"] <= len(unique) <= EVALUATIONS + WORKERS
    assert sum(search["evaluations_of"].values()) == search["evaluations"]
    # A policy is claimed before it is run; a record whose acknowledgement was lost is written again.
    assert len(after) - len(unique) <= 1
    assert any("is back after" in errors for _, errors in printed)
    for out, errors in printed:
        assert "se%2Fcret" not in out + errors
        assert "se/cret" not in out + errors


@pytest.mark.slow
def test_a_search_whose_server_stays_away_ends_and_is_resumed(
    config: Path, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOST_SECONDS", 2.0)
    reader = Reader(proxy.url)

    def kill() -> None:
        reader.wait_for(SENSITIVITIES + 5)
        proxy.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StorageError) as caught:
        Job.read(config).run(study_storage=proxy.url)
    killer.join()
    message = str(caught.value)
    assert re.match(rf"the storage {proxy.url} cannot be reached, for \d+ s now \(.+\): what was scored", message)
    assert "\n" not in message
    proxy.start()
    stored = reader.scored()
    assert SENSITIVITIES + 5 <= len(stored) < EVALUATIONS
    result = Job.read(config).run(study_storage=proxy.url, resume=True)
    search = result.to_dict()["search"]
    assert search["evaluations_of"] == {"resumed": len(stored), "this_process": EVALUATIONS - len(stored), "workers": 0}
    assert reader.scored()[: len(stored)] == stored


@pytest.mark.slow
def test_sigterm_ends_a_search_that_waits_for_its_server(
    config: Path, tmp_path: Path, proxy: Server, project_root: Path
) -> None:
    process = start(project_root, "quantize", config, "--output", tmp_path / "out", "--study-storage", proxy.url)
    Reader(proxy.url).wait_for(SENSITIVITIES + 5)
    proxy.kill()
    assert process.stderr is not None
    assert any("cannot be reached" in line for line in process.stderr)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = finish(process, code=2)
    # Of the patience with a server that is away, there are 300 seconds.
    assert time.monotonic() - begun < 60
    assert errors.splitlines()[-1].startswith(f"error: the storage {proxy.url} cannot be reached")
