"""Runs each network in a process of its own, so that one that fails, hangs or is killed does not end the sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.sweep.record import NetworkRecord, Settings, read_record, record_file

LOG_SUFFIX = ".log"


def run_network(
    name: str, settings: Settings, folder: Path, limit: float, command: Sequence[str] | None = None
) -> NetworkRecord:
    """Measures a network in another process, and keeps the record.

    A network whose process did not come to its end has a record that tells why.

    Args:
        name: Of the network.
        settings: How it is measured.
        folder: Of the records; what the process prints is kept there while it runs, and where it fails.
        limit: Seconds after which it is killed.
        command: What writes the record; this program, told to measure the network, by default.
    """
    log = folder / f"{name}{LOG_SUFFIX}"
    record_file(folder, name).unlink(missing_ok=True)
    program = [sys.executable, "-m", "benchmarks.sweep", "--output", str(folder)]
    measure = ["--measure", name, "--settings", settings.model_dump_json()]
    reason = _run(command or [*program, *measure], log, limit, {"OMP_NUM_THREADS": str(settings.threads)})
    record = read_record(folder, name, settings)
    if record is None:
        record = NetworkRecord(name=name, settings=settings, errors={name: reason or "ended without a record"})
        record.save(folder)
    if not record.errors:
        log.unlink(missing_ok=True)
    return record


def is_done(record: NetworkRecord | None) -> bool:
    """Whether there is nothing to measure again: what failed is tried once more by the next sweep."""
    return record is not None and not record.errors


def _run(command: Sequence[str], log: Path, limit: float, variables: dict[str, str]) -> str:
    """Runs a command; returns why it did not come to its end, or nothing."""
    with log.open("w", encoding="utf-8") as stream:
        # A group of its own: what it has started ends with it.
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=os.environ | variables, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"killed after {limit:g} seconds"
        finally:
            # Also where Ctrl-C ends the wait.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "" if code == 0 else lines[-1] if lines else f"ended with exit status {code}"
