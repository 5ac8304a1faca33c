"""Garbage collection where it costs more than it frees."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def exit_without_collection() -> None:
    """Lets the process end without a last look through all objects, a fifth of the time of a short command."""
    atexit.register(gc.freeze)


@contextmanager
def rare_collection() -> Iterator[None]:
    """For a short command: what importing PyTorch makes stays until the end, and is looked through again and again."""
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
