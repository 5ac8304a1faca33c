"""Memory that there is, and what does not fit into it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

from nncf_mcq.errors import ConfigError

_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")
_GIGABYTE: Final = 1e9


def available_bytes() -> int:
    """Bytes that can be allocated: of the machine, or of the container where that has fewer."""
    found = int(psutil.virtual_memory().available)
    try:
        limit = (_CONTROL_GROUP / "memory.max").read_text().strip()
        used = int((_CONTROL_GROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return found
    return min(found, max(int(limit) - used, 0)) if limit.isdecimal() else found


def check_memory(path: str, found: object, size: int, what: str) -> None:
    """Refuses what does not fit into memory, before it is tried: a process that takes too much is killed.

    Args:
        path: Of the value in the configuration that decides.
        found: The value.
        size: Bytes that it takes at least.
        what: In words, what would be held: "an input".

    Raises:
        ConfigError: There are fewer bytes.
    """
    available = available_bytes()
    if size > available:
        estimate = f"{size / _GIGABYTE:,.1f} GB are needed, {available / _GIGABYTE:,.1f} GB are available"
        raise ConfigError(path, found, f"{what} that fits into memory ({estimate})")
