"""AutoQ of NNCF 2.19 beside the search of this package: quality, and policies scored a second.

The first run makes an environment for AutoQ in build/autoq-env. Writes DIR/autoq.json and DIR/autoq.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.autoq import tables
from benchmarks.autoq.comparison import Comparison, read_job
from benchmarks.autoq.environment import prepare_environment
from benchmarks.command import add_config
from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.utils.files import write_text_atomically

RESULT_FILE, REPORT_FILE = "autoq.json", "autoq.md"
_WIDTH = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, searches on both sides and writes the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoq", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the result")
    parser.add_argument("--evaluations", type=_positive, default=200, metavar="N", help="policies each search scores")
    parser.add_argument("--seed", type=int, default=0, help="seed of all searches")
    parser.add_argument(
        "--average-bits", type=float, metavar="BITS", help="budget for the weights; by default the configuration's"
    )
    parsed = parser.parse_args(arguments)
    terminal = Console(highlight=False, soft_wrap=True)
    console = terminal if terminal.is_terminal else Console(highlight=False, width=_WIDTH)
    try:
        job, average_bits = read_job(find_config(parsed.config), parse_overrides(parsed.set), parsed.average_bits)
        python = prepare_environment(lambda line: console.print(line, soft_wrap=True))
        with _Bars(console) as bars:
            comparison = Comparison(job, average_bits, parsed.evaluations, parsed.seed, bars.update)
            result = comparison.run(python, parsed.output / "autoq-task")
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted\n")
    report = tables.to_markdown(result)
    write_text_atomically(parsed.output / RESULT_FILE, json.dumps(result, indent=1) + "\n")
    write_text_atomically(parsed.output / REPORT_FILE, report)
    for rows in (tables.speed(result), tables.quality(result)):
        console.print(tables.to_console(rows))
    for line in (*tables.findings(result), tables.caption(result)):
        console.print(line)
    for name in (RESULT_FILE, REPORT_FILE):
        console.print(str(parsed.output / name), soft_wrap=True)


class _Bars:
    """A bar for each stage; where there is no terminal, a line when it is done."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:<15}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._console = console
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """Moves the bar of a stage, and stops its clock at the end."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)
        if done >= total and self._progress.tasks[self._tasks[stage]].stop_time is None:
            self._progress.stop_task(self._tasks[stage])
            if not self._console.is_terminal:
                self._console.print(f"{stage}: done")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("allowed: 1 or more")
    return number


if __name__ == "__main__":
    main()
