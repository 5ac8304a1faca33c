"""Ctrl-C where half of the work would be worse than none of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Puts Ctrl-C off until the end of the block; for what is short.

    Optuna's storages keep in memory what they wrote: an exception in the middle of that leaves them with another state
    than the file or database has, and may leave a lock behind. Only the main thread is ever interrupted: elsewhere this
    does nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived:
            handler(*arrived[0])
