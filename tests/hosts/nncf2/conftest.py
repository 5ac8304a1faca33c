"""What NNCF 2 needs before it is imported: the API of `create_compressed_model`, and a compiler for its quantizers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ENVIRONMENT = Path(sys.prefix)

# Without it NNCF 2.19 refuses `create_compressed_model`.
os.environ["NNCF_TORCH_LEGACY_TRACING"] = "1"
# Its C++ quantizers are compiled once, for longer than it waits by default, and kept with the environment.
os.environ["NNCF_EXTENSION_LOAD_TIMEOUT"] = "0"
os.environ["TORCH_EXTENSIONS_DIR"] = str(ENVIRONMENT / "extensions")
# The compilation looks for ninja.
os.environ["PATH"] = os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ.get("PATH", os.defpath)])


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Messages of NNCF's logger, which hands them to no other."""
    from nncf.common.logging import nncf_logger

    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Keep()
    nncf_logger.addHandler(handler)
    yield found
    nncf_logger.removeHandler(handler)
