"""Tests of a host run in its own environment, `build/hosts/NAME`, and are not collected in another one."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ENVIRONMENTS = FOLDER.parents[1] / "build" / "hosts"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out what belongs to another environment than the running one."""
    inside = collection_path.relative_to(FOLDER).parts
    if not inside or Path(sys.prefix).resolve() == ENVIRONMENTS / inside[0]:
        return None
    return True
