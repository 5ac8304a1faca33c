"""Libraries that are installed but not wanted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_library(name: str) -> Iterator[None]:
    """Imports of a library fail inside, as if it were not installed, unless it has been imported already.

    For a process that ends soon: other libraries may remember that they did not find it.

    Args:
        name: Of the library's package.
    """
    if name in sys.modules:
        yield
        return
    # An import of a name that is None there fails, and find_spec finds nothing.
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
