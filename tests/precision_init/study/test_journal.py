from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nncf_mcq.precision_init.study import journal, quiet_optuna
from nncf_mcq.precision_init.study.journal import SearchJournal, is_journal
from tests.files import no_room_for_more_than


def study(path: Path) -> optuna.Study:
    with quiet_optuna():
        storage = JournalStorage(SearchJournal(path))
        return optuna.create_study(storage=storage, study_name="study", load_if_exists=True)


def add_trials(path: Path, values: list[float]) -> None:
    found = study(path)
    for value in values:
        found.add_trial(optuna.trial.create_trial(value=value))


def values(path: Path) -> list[float | None]:
    return [trial.value for trial in study(path).get_trials()]


@pytest.mark.parametrize("kept", [1, 10, -2])
def test_half_a_record_of_a_killed_process_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.journal"
    add_trials(path, [1.0, 2.0, 3.0])
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -len(last)] + last[:kept])
    assert values(path) == [1.0, 2.0]
    add_trials(path, [4.0])
    assert values(path) == [1.0, 2.0, 4.0]
    assert path.read_bytes().startswith(whole[: -len(last)])


def test_half_of_the_first_record_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    path.write_bytes(b'{"op_co')
    assert is_journal(path)
    add_trials(path, [1.0])
    assert values(path) == [1.0]


def test_optuna_reads_and_continues_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    add_trials(path, [1.0])
    with quiet_optuna():
        theirs = optuna.load_study(study_name="study", storage=JournalStorage(JournalFileBackend(str(path))))
    theirs.add_trial(optuna.trial.create_trial(value=2.0))
    add_trials(path, [3.0])
    assert [trial.value for trial in theirs.get_trials()] == [1.0, 2.0, 3.0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", True), (b'{"op_code":0,', True), (b"{}", False), (b"x", False)]
)
def test_other_files_are_no_journals(tmp_path: Path, content: bytes, expected: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert is_journal(path) is expected


def test_the_lock_of_a_killed_process_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOCK_SECONDS", 3)
    path = tmp_path / "a.journal"
    add_trials(path, [1.0])
    (tmp_path / "a.journal.lock").symlink_to(path)
    add_trials(path, [2.0])
    assert values(path) == [1.0, 2.0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file_and_costs_the_last_record_only(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    add_trials(path, [1.0])
    with no_room_for_more_than(path.stat().st_size + 5), pytest.raises(OSError, match=r"a\.journal"):
        add_trials(path, [2.0])
    add_trials(path, [3.0])
    assert values(path) == [1.0, 3.0]
