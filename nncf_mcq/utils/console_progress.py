"""Progress on standard error: bars on a terminal, some lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages

_BAR, _STEPS = 20, 11
"""Columns: all of a line fits into the 80 of a terminal, and lines of two commands stand in one table."""

LOG_SECONDS = 30.0
"""In a log, a stage says how far it is so often."""


class ConsoleProgress:
    """Shows each stage while the block lasts: how far it is, elapsed and remaining time.

    Args:
        console: Where to; standard error by default.
        quiet: Show nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        console = console or Console(stderr=True, highlight=False)
        self._bars: _Bars | None = None
        self._reporter: ProgressReporter = SilentProgress()
        if quiet:
            return
        if console.is_terminal:
            self._reporter = self._bars = _Bars(console)
        else:
            self._reporter = _Lines(console)

    def __enter__(self) -> ConsoleProgress:
        if self._bars is not None:
            self._bars.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.progress.stop()

    def start(self, stage: str, total: int) -> None:
        """A stage begins."""
        self._reporter.start(stage, total)

    def update(self, done: int, total: int) -> None:
        """So many of its steps are done."""
        self._reporter.update(done, total)

    def finish(self) -> None:
        """It is done."""
        self._reporter.finish()


@contextmanager
def console_stage(name: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a single stage on standard error, where that is a terminal; yields a function to call after each step.

    Args:
        name: Of the stage.
        total: Number of steps.
    """
    console = Console(stderr=True, highlight=False)
    with (
        ConsoleProgress(console, quiet=not console.is_terminal) as progress,
        Stages(progress).stage(name, total) as advance,
    ):
        yield advance


class _Steps(ProgressColumn):
    """Steps that are done, of how many; nothing for a stage of one step."""

    def render(self, task: Task) -> Text:
        total = int(task.total or 0)
        text = "" if total <= 1 else f"{int(task.completed):>{len(str(total))}} of {total}"
        return Text(f"{text:>{_STEPS}}", style="progress.download")


class _Times(ProgressColumn):
    """Time since a stage began, and, while it lasts, what is left of it."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        elapsed = timedelta(seconds=int((task.finished_time if task.finished else task.elapsed) or 0))
        left = None if task.finished or task.stop_time is not None else task.time_remaining
        more = "" if left is None else f", {timedelta(seconds=int(left))} left"
        return Text(f"{elapsed}{more}", style="progress.elapsed")


class _Bars:
    """A bar for each stage."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<23}"),
            BarColumn(bar_width=_BAR),
            _Steps(),
            _Times(),
            console=console,
        )
        self._task: TaskID | None = None

    def start(self, stage: str, total: int) -> None:
        self._task = self.progress.add_task(stage, total=total)

    def update(self, done: int, total: int) -> None:
        if self._task is not None:
            self.progress.update(self._task, completed=done, total=total)

    def finish(self) -> None:
        if self._task is not None:
            task = next(task for task in self.progress.tasks if task.id == self._task)
            if not task.completed:
                self.progress.update(self._task, completed=task.total)
            self.progress.stop_task(self._task)
            self._task = None


class _Lines:
    """A line at the end of each stage, and now and then on the way; one that ended early says how far it came."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._begun, self._shown = "", 0.0, 0.0
        self._done = self._total = 0

    def start(self, stage: str, total: int) -> None:
        self._stage, self._done, self._total = stage, 0, total
        self._begun = self._shown = time.monotonic()

    def update(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        now = time.monotonic()
        if now - self._shown < LOG_SECONDS or not 0 < done < total:
            return
        self._shown, elapsed = now, now - self._begun
        left = elapsed / done * (total - done)
        self._print(f"{self._stage}: {done} of {total}, {_clock(elapsed)}, about {_clock(left)} left")

    def finish(self) -> None:
        steps = f"{self._done} of {self._total}, " if 0 < self._done < self._total else ""
        self._print(f"{self._stage}: {steps}{_clock(time.monotonic() - self._begun)}")

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def _clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
