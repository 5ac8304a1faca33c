"""Output of native libraries."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet_output(descriptor: int = 1) -> Iterator[None]:
    """Drops what native code writes to the standard output while it lasts, as HiGHS does whatever its options say.

    Args:
        descriptor: 2 for the standard error instead.
    """
    stream = sys.stdout if descriptor == 1 else sys.stderr
    stream.flush()
    _flush_native()
    try:
        kept = os.dup(descriptor)
    except OSError:
        # There is no standard output.
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        stream.flush()
        _flush_native()
        os.dup2(kept, descriptor)
        os.close(kept)


def _flush_native() -> None:
    """Writes what C keeps in buffers of its own: where the output is no terminal, all until the process ends."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
