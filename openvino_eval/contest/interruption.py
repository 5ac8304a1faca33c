"""Ctrl-C ends a contest, not only the search that is at work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class ContestInterrupted(BaseException):
    """Ctrl-C. A search takes a KeyboardInterrupt for the wish to go on with the best policy so far; this passes it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns Ctrl-C into `ContestInterrupted`; for the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise ContestInterrupted

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
