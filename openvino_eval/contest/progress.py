"""How far a contest is."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ContestProgress:
    """Two bars: all runs, and what is at work. Where there is no terminal, a line for each finished run.

    Args:
        console: Where to.
        runs: How many there are.
        finished: How many of them are finished already.
    """

    def __init__(self, console: Console, runs: int, finished: int) -> None:
        self._console = console
        self._runs = runs
        self._finished = finished
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TextColumn("{task.fields[count]:>9}"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._all = self._progress.add_task("runs", total=runs, completed=finished, count=self._count)
        self._current: TaskID | None = None

    def __enter__(self) -> ContestProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, stage: str, total: int) -> None:
        """Something begins that has so many steps."""
        self.finish()
        self._current = self._progress.add_task(stage, total=total, count="")

    def update(self, done: int, total: int) -> None:
        """So many of its steps are done."""
        if self._current is not None:
            self._progress.update(self._current, completed=done, total=total, count=f"{done}/{total}")

    def update_run(self, done: int, total: int) -> None:
        """So many evaluations of the run at work are done."""
        self.update(done, total)
        self._progress.update(self._all, completed=self._finished + min(done / max(total, 1), 1.0))

    def finish(self) -> None:
        """It ends."""
        if self._current is not None:
            self._progress.remove_task(self._current)
            self._current = None

    def finish_run(self, name: str, text: str) -> None:
        """A run is finished.

        Args:
            name: Of the run.
            text: What came of it.
        """
        self.finish()
        self._finished += 1
        self._progress.update(self._all, completed=self._finished, count=self._count)
        if not self._console.is_terminal:
            self._console.print(f"{self._count} {name}: {text}", soft_wrap=True)

    @property
    def _count(self) -> str:
        return f"{self._finished}/{self._runs}"
