"""A search in several real processes: killed, interrupted, resumed and shared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from nncf_mcq import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init.study import StudyStorage, quiet_optuna
from nncf_mcq.precision_init.study.memo import SCORED_POLICY
from nncf_mcq.worker import work
from tests.commands import SECONDS, finish, start, write_config
from tests.warm_processes import WarmProcess

EVALUATIONS = 60
SENSITIVITIES = 1 + 4 * 3


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """At 7 widths and 4 layers it has 2401 policies."""
    precision = {"type": "optuna", "evaluations": EVALUATIONS, "measured_widths": 3}
    return write_config(tmp_path, precision, correction={"sequential": False})


def scored(journal: Path) -> list[PolicyKey]:
    """The policies in the whole lines of a journal, read without Optuna."""
    if not journal.exists():
        return []
    lines = journal.read_bytes().split(b"\n")[:-1]
    attributes = [json.loads(line).get("user_attrs", {}) for line in lines]
    return [Policy.from_dict(item[SCORED_POLICY]).key for item in attributes if SCORED_POLICY in item]


def wait_for(journal: Path, count: int, process: WarmProcess) -> None:
    deadline = time.monotonic() + SECONDS
    while len(scored(journal)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def search_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "result.json").read_text())["search"]
    return found


def test_a_search_that_is_killed_twice_is_resumed(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    journal = output / "study.journal"
    before: list[PolicyKey] = []
    for killed_at in (SENSITIVITIES // 2, 2 * SENSITIVITIES):
        process = start(project_root, "quantize", config, "--output", output, "--resume")
        wait_for(journal, killed_at, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kept, before = before, scored(journal)
        assert before[: len(kept)] == kept
        assert killed_at <= len(before) < EVALUATIONS

    out, _ = finish(start(project_root, "quantize", config, "--output", output, "--resume"))
    after = scored(journal)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == EVALUATIONS
    search = search_of(output)
    assert search["evaluations"] == EVALUATIONS
    left = EVALUATIONS - len(before)
    assert search["evaluations_of"] == {"resumed": len(before), "this_process": left, "workers": 0}
    assert search["storage"] == {"location": "study.journal", "study": "nncf_mcq-1"}
    assert f"{EVALUATIONS} policies scored ({len(before)} before it was resumed)" in out


def test_workers_share_a_search(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    journal = output / "study.journal"
    processes = [
        start(project_root, "quantize", config, "--output", output),
        start(project_root, "worker", config, "--study-storage", journal),
    ]
    outputs = [finish(process) for process in processes]
    after = scored(journal)
    search = search_of(output)
    # The last evaluation of each may be begun before the other's is known.
    assert EVALUATIONS <= search["evaluations"] <= len(set(after)) <= EVALUATIONS + 1
    origins = search["evaluations_of"]
    assert origins["resumed"] == 0
    assert origins["this_process"] > 0 < origins["workers"]
    assert sum(origins.values()) == search["evaluations"]
    # A policy is claimed before it is run, once the main process knows of a worker.
    assert len(after) - len(set(after)) <= 1
    assert "nncf_mcq-1: " in outputs[1][0]
    assert {path.name for path in output.iterdir() if "journal" in path.name} == {"study.journal"}


def test_ctrl_c_keeps_what_was_scored(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    journal = output / "study.journal"
    process = start(project_root, "quantize", config, "--output", output)
    wait_for(journal, 2 * SENSITIVITIES, process)
    process.send_signal(signal.SIGINT)
    out, errors = finish(process)
    assert "the best policy so far is used" in errors
    assert "the search was interrupted: repeat the command with --resume to continue" in out
    search = search_of(output)
    assert search["details"]["interrupted"]
    assert search["evaluations"] < EVALUATIONS

    process = start(project_root, "quantize", config, "--output", output)
    wait_for(journal, search["evaluations"] + SENSITIVITIES // 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = finish(process, code=130)
    assert "holds an earlier search, nncf_mcq-1 with" in errors
    assert "the scores so far are stored: repeat the command with --resume to continue" in errors
    assert errors.rstrip().endswith("interrupted")


def test_sigterm_saves_the_best_so_far_at_once(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    process = start(project_root, "quantize", config, "--output", output)
    wait_for(output / "study.journal", SENSITIVITIES + 5, process)
    # Of the processor: on a machine that does something else as well, the clock tells nothing of a command.
    before = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().split()[13:15])) / os.sysconf("SC_CLK_TCK")
    process.send_signal(signal.SIGTERM)
    out, errors = finish(process)
    assert process.seconds - before < 5
    assert "the best policy so far is used" in errors
    assert "warning: left out after the interruption: weights made from all calibration images" not in out
    assert "warning: left out after the interruption: " in out
    result = json.loads((output / "result.json").read_text())
    assert result["verified"] is True
    assert result["search"]["ended_by"] == "interrupted"
    assert "test images" in result["search"]["left_out"]
    assert (output / "model.xml").exists()


def test_sigterm_before_anything_is_scored_has_its_own_code(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    process = start(project_root, "quantize", config, "--output", output)
    wait_for(output / "study.journal", 2, process)
    process.send_signal(signal.SIGTERM)
    _, errors = finish(process, code=128 + signal.SIGTERM)
    assert "the scores so far are stored: repeat the command with --resume to continue" in errors
    assert errors.rstrip().endswith("interrupted")
    assert not (output / "model.xml").exists()


def test_ctrl_c_before_the_search_is_one_word(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    process = start(project_root, "worker", config, "--study-storage", output / "study.journal")
    assert process.stderr is not None
    # Libraries may have something to say before.
    assert any(line.startswith("waiting up to 600 s") for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, errors = finish(process, code=130)
    assert errors == "interrupted\n"
    assert not output.exists()


def test_bad_input_is_one_message(config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    arguments = ["--output", str(output), "--study-storage", "nonsense://me:secret@host"]
    out, errors = finish(start(project_root, "quantize", config, *arguments), code=2)
    assert "error: study_storage: found 'nonsense://me:***@host', allowed: " in errors
    assert "secret" not in out + errors
    assert not output.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_four_processes_of_which_one_is_killed(kind: str, config: Path, tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    place = str(tmp_path / "s.journal") if kind == "journal" else f"sqlite:///{tmp_path / 's.db'}"
    options = ["--study-storage", place]
    main = start(project_root, "quantize", config, "--output", output, *options)
    workers = [start(project_root, "worker", config, *options) for _ in range(3)]
    storage = StudyStorage(place, mode="join", seconds=SECONDS)
    deadline = time.monotonic() + SECONDS

    def records() -> list[PolicyKey]:
        with quiet_optuna():
            connection = storage._connection or StudyStorage(place, mode="join")._connection
            assert connection is not None
            trials = optuna.load_study(study_name="nncf_mcq-1-scores", storage=connection).get_trials(deepcopy=False)
        return [Policy.from_dict(trial.user_attrs[SCORED_POLICY]).key for trial in trials]

    while time.monotonic() < deadline:
        with contextlib.suppress(KeyError, AssertionError):
            if len(records()) > SENSITIVITIES + 5:
                break
        time.sleep(0.2)
    workers[0].kill()
    workers[0].communicate()
    for process in (main, *workers[1:]):
        finish(process)
    found = records()
    search = search_of(output)
    assert EVALUATIONS <= search["evaluations"] <= len(set(found)) <= EVALUATIONS + 2
    assert sum(search["evaluations_of"].values()) == search["evaluations"]
    # One at most while the main process does not know of a worker yet.
    assert len(found) - len(set(found)) <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "a storage in which a search has started; waited 0 s for it"),
        (
            {"compression.initializer.precision": {"type": "uniform"}},
            "compression.initializer.precision.type: found 'uniform', allowed: one that scores policies",
        ),
    ],
)
def test_a_worker_without_a_search_is_an_error(
    overrides: dict[str, Any], message: str, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        work(Job.read(config, overrides), tmp_path / "out" / "study.journal", wait=0)
    assert not (tmp_path / "out").exists()
