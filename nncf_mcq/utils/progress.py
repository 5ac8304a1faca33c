"""How long stages report how far they are; a library call is silent unless it is given a reporter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class ProgressReporter(Protocol):
    """Shows the progress of one stage after another."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def update(self, done: int, total: int) -> None:
        """`done` of `total` steps of the current stage are done."""

    def finish(self) -> None:
        """The current stage is done."""


class SilentProgress:
    """Shows nothing."""

    def start(self, stage: str, total: int) -> None:
        """Nothing."""

    def update(self, done: int, total: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


class StageLog(SilentProgress):
    """Tells which stage begins, for a log that has no place for progress bars.

    Args:
        tell: Gets the name of each stage.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def start(self, stage: str, total: int) -> None:
        """A stage begins."""
        self._tell(stage)


class Stages:
    """Runs stages: reports their progress and takes their time.

    Args:
        reporter: Shows the progress.
    """

    def __init__(self, reporter: ProgressReporter) -> None:
        self._reporter = reporter
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Callable[[], None]]:
        """A stage; yields a function to call after each step."""
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            self._reporter.update(done, total)

        start = time.perf_counter()
        self._reporter.start(name, total)
        try:
            yield advance
        finally:
            self._reporter.finish()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def report(self, done: int, total: int) -> None:
        """Progress of the current stage when the number of its steps is known only now."""
        self._reporter.update(done, total)
