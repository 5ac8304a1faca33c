"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

_DIGITS: Final = 12
# Of `temporary_sibling` and `temporary_folder`, and of folders that versions before them left.
_TEMPORARY: Final = re.compile(
    rf"\.[^/]+\.[0-9a-f]{{{_DIGITS}}}(\.\w+)?|\.\w+-[0-9a-f]{{{_DIGITS}}}\..+|\.unverified-\w+"
)


def temporary_sibling(path: Path) -> Path:
    """An unused name in the same directory, with the same suffix: a rename within a directory is atomic.

    Args:
        path: The name that the file will get in the end.

    Returns:
        A hidden name next to it.
    """
    return path.with_name(f".{path.stem}.{uuid4().hex[:_DIGITS]}{path.suffix}")


def temporary_folder(directory: Path, purpose: str) -> TemporaryDirectory[str]:
    """A folder that is removed at the end of its block; `remove_leftovers` knows its name.

    Args:
        directory: Where it is made.
        purpose: Part of its name.
    """
    return TemporaryDirectory(dir=directory, prefix=f".{purpose}-{uuid4().hex[:_DIGITS]}.")


def remove_leftovers(directory: Path) -> None:
    """Removes what killed processes left in a folder: temporary files and folders under the names that they get here.

    Args:
        directory: No other process may be writing to it; it may be missing.
    """
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if _TEMPORARY.fullmatch(path.name) is None:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a UTF-8 text file; a reader sees the old content or the new one, also after a crash.

    Args:
        path: The file; its directory is created if it is missing.
        text: The content.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
    """
    # Names of files may hold bytes that are no characters.
    write_bytes_atomically(path, text.encode(errors="backslashreplace"))


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Writes a file as `write_text_atomically` does.

    Args:
        path: The file; its directory is created if it is missing.
        content: The content.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
    """
    if path.is_char_device() or path.is_fifo() or path.absolute().parts[1:2] in (("dev",), ("proc",)):
        # Such as /dev/null, /dev/stdout, or a pipe of the shell: a rename would put a file in its place.
        with path.open("ab") as stream:
            stream.write(content)
        return
    # Where a link leads to is written, as by any other program.
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
