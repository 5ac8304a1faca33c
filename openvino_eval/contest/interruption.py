"""Ctrl-C and SIGTERM end a contest, not only the search that is at work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class ContestInterrupted(BaseException):
    """Ctrl-C or SIGTERM. A search takes a KeyboardInterrupt for the wish to use its best policy; this passes it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into `ContestInterrupted`; for the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise ContestInterrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
