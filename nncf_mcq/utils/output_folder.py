"""The output folder of a command: one at a time writes to it, and begins with what it can write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from filelock import FileLock, Timeout

from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.files import remove_leftovers

LOCK_FILE: Final = ".nncf-mcq.lock"
"""Held as long as a command runs; the operating system lets go of it with the process."""


def check_folder(output: Path | None) -> None:
    """Refuses what is no folder that files can be written to, before anything is computed.

    Args:
        output: Value of --output, if any; it is made later, with what is written to it.

    Raises:
        ConfigError: It is a file, it cannot be made, or it cannot be written to.
    """
    if output is None:
        return
    try:
        place = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
        if place.is_dir():
            with TemporaryFile(dir=place):
                return
        reason = f"{place} is no folder"
    except OSError as error:
        reason = str(error.strerror)
    raise ConfigError("--output", str(output), f"a folder that can be written ({reason})")


@contextmanager
def output_folder(output: Path) -> Iterator[None]:
    """Keeps other commands from writing to a folder, and removes what killed ones left there.

    Args:
        output: Value of --output. It is made if it is missing, and removed again where nothing was written to it.

    Raises:
        ConfigError: It cannot be written to, or another command is writing to it.
    """
    check_folder(output)
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / LOCK_FILE, timeout=0)
        lock.acquire()
    except Timeout:
        allowed = "a folder that no other command is writing to: wait for that one, or name another folder"
        raise ConfigError("--output", str(output), allowed) from None
    except OSError as error:
        raise ConfigError("--output", str(output), f"a folder that can be written ({error.strerror})") from error
    try:
        remove_leftovers(output)
        yield
    finally:
        if is_new and {path.name for path in output.iterdir()} <= {LOCK_FILE}:
            (output / LOCK_FILE).unlink(missing_ok=True)
            output.rmdir()
        lock.release()
