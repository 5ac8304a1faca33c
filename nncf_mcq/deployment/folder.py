"""A folder that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.files import temporary_folder
from nncf_mcq.utils.output_folder import check_folder

_PURPOSE: Final = "deployment"
_BEFORE: Final = "old"
_LOCK: Final = "lock"
"""Held as long as the folder is written."""


def check_replaceable(output: Path, mark: str) -> None:
    """Refuses what would be lost if a folder were replaced.

    Args:
        output: It may be missing or empty.
        mark: As in `replaced_folder`.

    Raises:
        ConfigError: It is another folder, no folder, or cannot be written to.
    """
    check_folder(output)
    if output.is_dir() and any(output.iterdir()) and not (output / mark).is_file():
        raise ConfigError("--output", str(output), f"a new or empty folder, or one to replace, which has a {mark}")


def _remove_abandoned(parent: Path) -> None:
    """Removes the temporary folders of commands that were killed: nobody holds their lock."""
    for folder in parent.glob(f".{_PURPOSE}-*.*"):
        try:
            # What was to be replaced may have no other copy.
            if (folder / _LOCK).is_file() and not (folder / _BEFORE).exists():
                with FileLock(folder / _LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            # It is at work, or another user's.
            continue


@contextmanager
def replaced_folder(output: Path, mark: str) -> Iterator[Path]:
    """A temporary folder that becomes the output at the end of the block, unless something is raised.

    What was there before is kept until then. A program that has opened a file of it goes on with that file.

    Args:
        output: New, empty, or a folder with the mark, which is replaced.
        mark: Name of a file that tells what kind of folder it is.

    Raises:
        ConfigError: As `check_replaceable`.
    """
    check_replaceable(output, mark)
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(output.parent)
    with temporary_folder(output.parent, _PURPOSE) as temporary, FileLock(Path(temporary) / _LOCK):
        made, before = Path(temporary) / "new", Path(temporary) / _BEFORE
        made.mkdir()
        yield made
        if output.exists():
            output.rename(before)
        try:
            made.rename(output)
        except OSError:
            if before.exists():
                before.rename(output)
            raise
