"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def temporary_sibling(path: Path) -> Path:
    """An unused name in the same directory, with the same suffix: a rename within a directory is atomic.

    Args:
        path: The name that the file will get in the end.

    Returns:
        A hidden name next to it.
    """
    return path.with_name(f".{path.stem}.{uuid4().hex[:12]}{path.suffix}")


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a UTF-8 text file; a reader sees the old content or the new one, also after a crash.

    Args:
        path: The file; its directory is created if it is missing.
        text: The content.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
    """
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Writes a file as `write_text_atomically` does.

    Args:
        path: The file; its directory is created if it is missing.
        content: The content.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
    """
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
