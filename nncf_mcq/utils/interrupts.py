"""Ctrl-C and SIGTERM: the same request to end, and where half of the work would be worse than none of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what containers and batch systems send before they kill."""

SAME_REQUEST_SECONDS: Final = 0.5
"""Signals that follow each other so fast are one request: `timeout`, `make` and others pass on what a terminal or a
process group was sent already."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C."""

_SIGNALLED = 128
"""Added to the number of a signal: the exit code that shells use."""


_stopped = threading.Event()
"""Set from a command's first signal to its end."""

_put_off = threading.Event()
"""Set from a signal in `uninterrupted` to the end of the block."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, taken for Ctrl-C by whoever handles that."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Puts Ctrl-C, and a SIGTERM that has a handler, off until the end of the block; for what is short.

    Optuna's storages keep in memory what they wrote: an exception in the middle of that leaves them with another state
    than the file or database has, and may leave a lock behind. Only the main thread is ever interrupted: elsewhere this
    does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    found = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    handlers = {int(number): handler for number, handler in found.items() if callable(handler)}

    def put_off(number: int, frame: FrameType | None) -> None:
        arrived.append((number, frame))
        _put_off.set()

    for number in handlers:
        signal.signal(number, put_off)
    try:
        yield
    finally:
        _put_off.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if arrived:
            handlers[arrived[0][0]](*arrived[0])


def is_end_requested() -> bool:
    """Whether a signal has asked this process to end: what waits, in whatever thread, then stops to.

    Known at once in a command, and elsewhere within `uninterrupted`.
    """
    return _stopped.is_set() or _put_off.is_set()


@dataclass
class Ending:
    """How a command was asked to end.

    Attributes:
        exit_code: With which a shell reports a process that this signal ended.
    """

    exit_code: int = INTERRUPTED


@contextmanager
def stoppable() -> Iterator[Ending]:
    """Makes SIGTERM a `Terminated`, and ends the process at once at the second signal of either kind.

    The second signal is seen by a thread of its own: the main thread may be in a long call of a library, where Python's
    handlers wait. Nothing is cleaned up then; what is left over is removed when the next command starts. For the main
    thread of a command.
    """
    ending = Ending()
    _stopped.clear()

    def terminate(number: int, frame: FrameType | None) -> None:
        ending.exit_code = _SIGNALLED + number
        raise Terminated

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=_end_at_second, args=(reading,), daemon=True, name="signals").start()
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(before)
        # The thread reads the end of the pipe and ends.
        os.close(writing)
        _stopped.clear()


def _end_at_second(reading: int) -> None:
    first: float | None = None
    while received := os.read(reading, 1):
        if received[0] not in ENDING_SIGNALS:
            continue
        now = time.monotonic()
        if first is None:
            first = now
            _stopped.set()
        elif now - first > SAME_REQUEST_SECONDS:
            os._exit(_SIGNALLED + received[0])
    os.close(reading)
