from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.files import remove_leftovers, temporary_folder, temporary_sibling
from nncf_mcq.utils.output_folder import LOCK_FILE, output_folder

HOLD = """
import sys
from pathlib import Path
from nncf_mcq.utils.output_folder import output_folder

with output_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_command_is_refused_until_the_first_ends_or_is_killed(tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, str(output)]
    with subprocess.Popen(command, cwd=project_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        message = "a folder that no other command is writing to"
        with pytest.raises(ConfigError, match=message), output_folder(output):
            pass
        holder.kill()
    with output_folder(output):
        (output / "file").touch()
    assert {path.name for path in output.iterdir()} == {"file", LOCK_FILE}


def test_a_folder_that_nothing_was_written_to_goes_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    with output_folder(tmp_path):
        pass
    assert tmp_path.exists()


@pytest.mark.parametrize("output", ["file", "file/below", "/proc/nowhere", "a" * 300])
def test_what_cannot_be_written_to_is_one_sentence(output: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match="allowed: a folder that can be written") as caught,
        output_folder(tmp_path / output),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_leftovers_are_told_by_their_names_and_the_rest_stays(tmp_path: Path) -> None:
    kept = {"model.xml", ".hidden", ".model.xml", ".cache-2", "tmp", "study.journal.lock"}
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    for name in ("model.xml", "result.json", "nosuffix"):
        temporary_sibling(tmp_path / name).touch()
    folder = temporary_folder(tmp_path, "unverified")
    (Path(folder.name) / "model.bin").touch()
    (tmp_path / ".unverified-ab12_x9z").mkdir()
    # A link goes, and what it leads to stays.
    (tmp_path / "tmp2").mkdir()
    (tmp_path / "tmp2" / "file").touch()
    (tmp_path / ".unverified-link").symlink_to(tmp_path / "tmp2")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "missing")
    assert {path.name for path in tmp_path.iterdir()} == kept | {".git", "tmp2"}
    assert (tmp_path / "tmp2" / "file").exists()
    folder._finalizer.detach()  # type: ignore[attr-defined]


def test_leftovers_that_cannot_be_removed_or_are_gone_already_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = tmp_path / ".unverified-stuck"
    stuck.mkdir()
    gone = tmp_path / ".model.0123456789ab.xml"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "rmdir", refuse)
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([gone, stuck]))
    remove_leftovers(tmp_path)
    assert stuck.exists()
