"""How a command begins, prints and fails, whatever it does."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from nncf_mcq.errors import LONGEST_VALUE, reason_of
from nncf_mcq.utils.interrupts import INTERRUPTED
from nncf_mcq.utils.messages import missing_library

FAILED: Final = 2
"""Exit code of what a user can mend."""


class UnreadOutput:
    """A stream that nobody has to read: what is said to a terminal that was closed is lost, and nothing else.

    Args:
        stream: Standard error.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, where that is possible."""
        try:
            return int(self._stream.write(text))
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Passes on what was written, where that is possible."""
        _flush_or_discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def start_command(module: str) -> None:
    """Imports the module of a command and runs its `main`.

    Texts that standard output has no characters for are escaped. Progress is no reason to end: that standard error
    cannot be written is passed over.

    Args:
        module: Of the package `nncf_mcq` or another one.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is not None:
        sys.stderr = UnreadOutput(sys.stderr)
    try:
        run = importlib.import_module(module).main
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    run()


@contextmanager
def failures_as_messages(show: Callable[[str], None], *mistakes: type[Exception]) -> Iterator[None]:
    """Ends the process with one message and code 2 for a user's mistake, and for what a machine refuses.

    Args:
        show: Prints a message.
        mistakes: Errors whose text is the message.
    """
    try:
        yield
    except mistakes as error:
        message = str(error)
    except OSError as error:
        where = "" if error.filename is None else f"{str(error.filename)[:LONGEST_VALUE]}: "
        message = f"{where}{error.strerror or error}"
        if error.filename is None:
            _flush_or_discard(sys.stdout)
    except ModuleNotFoundError as error:
        found = missing_library(error)
        if found is None:
            raise
        message = found
    except MemoryError as error:
        message = f"there is not enough memory ({reason_of(error)})"
    else:
        return
    show(f"error: {message}")
    sys.exit(FAILED)


def _flush_or_discard(stream: Any) -> None:
    """Passes on what a stream holds, or lets it go: the interpreter would try again at its end."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        _discard(stream)


def _discard(stream: Any) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, AttributeError, ValueError):
        # It is no file.
        return
