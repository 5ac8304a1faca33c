"""A journal file that survives a process that was killed while it wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

LOCK_SECONDS = 10
"""After so long without a change of the file, the lock of a killed process is taken away."""

_FIRST_BYTES = b'{"op_code"'


class SearchJournal(JournalFileBackend):
    """Optuna's journal file, with two differences; Optuna and its dashboard read the same file.

    A process that is killed may leave half a record. Optuna would append the next one to it, and could not read the
    file from then on; here half a record is cut off first. And records are not flushed to the disk one by one: each
    parameter of each trial is a record, and what a killed process wrote is safe with the operating system.

    Args:
        path: The file; its folder exists. Made if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._journal = path
        self._journal_lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_SECONDS)
        super().__init__(str(path), self._journal_lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends whole records, one a line."""
        records = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._journal_lock.acquire()
        try:
            # Unbuffered: all records in one write.
            with self._journal.open("r+b", buffering=0) as stream:
                end = stream.seek(0, os.SEEK_END)
                if end > 0:
                    stream.seek(end - 1)
                    if stream.read(1) != b"\n":
                        stream.seek(0)
                        stream.truncate(stream.readall().rfind(b"\n") + 1)
                        stream.seek(0, os.SEEK_END)
                try:
                    _write_all(stream.fileno(), records)
                except OSError as error:
                    # Which file it was, nobody would know.
                    raise OSError(error.errno, error.strerror, str(self._journal)) from error
        finally:
            self._journal_lock.release()


def is_journal(path: Path) -> bool:
    """Whether a file begins as a journal does, or is empty.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        found = stream.read(len(_FIRST_BYTES))
    return _FIRST_BYTES.startswith(found)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
