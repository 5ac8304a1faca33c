"""Runs AutoQ in a process of its own, in its own environment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.autoq.environment import AutoqError, variables
from benchmarks.autoq.task import AutoqResult

SCRIPT = Path(__file__).with_name("run_autoq.py")
LOG_FILE = "autoq.log"
_MARK = "scored "


def run_task(
    python: Path,
    task: Path,
    progress: Callable[[int], None] = lambda done: None,
    environment: Mapping[str, str] | None = None,
) -> AutoqResult:
    """Lets AutoQ search.

    Args:
        python: Interpreter of its environment.
        task: The JSON file of the task.
        progress: Called with the number of policies scored.
        environment: Environment variables; those of its environment by default.

    Returns:
        What it found.

    Raises:
        AutoqError: It failed; the message is the last line that it printed.
    """
    log = task.with_name(LOG_FILE)
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [str(python.absolute()), str(SCRIPT), str(task.absolute())],
            # NNCF 2 writes drawings of its graphs to the working directory.
            cwd=task.parent,
            env=dict(environment if environment is not None else variables()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        last = "no message"
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(_MARK):
                    progress(int(line.removeprefix(_MARK)))
                    continue
                stream.write(line)
                last = line.strip() or last
            code = process.wait()
        finally:
            # Ctrl-C, or a full disk: nobody waits for it any more.
            if process.poll() is None:
                process.kill()
                process.wait()
    if code != 0:
        raise AutoqError(f"AutoQ failed: {last} (all that it printed: {log})")
    return AutoqResult.read(task.parent)
