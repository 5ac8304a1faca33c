"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, RenderableType

from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.job import Job
from nncf_mcq.utils.interrupts import INTERRUPTED

_WIDTH = 110


def add_config(parser: argparse.ArgumentParser, kind: str = "") -> None:
    """CONFIG and --set.

    Args:
        parser: Of the command line.
        kind: What the recipe has to be, where it is not any.
    """
    parser.add_argument("config", help=f"a JSON file, or the name of a recipe{kind}")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser, of: str = "the config") -> None:
    """--set alone.

    Args:
        parser: Of the command line.
        of: What it replaces a value of.
    """
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help=f"replace a value of {of}")


def read_job(parsed: argparse.Namespace, *changes: str, defaults: Mapping[str, Any] | None = None) -> Job:
    """The job of CONFIG and --set.

    Args:
        parsed: What `add_config` added.
        changes: Further values, PATH=VALUE, which come last.
        defaults: Values of a benchmark, by path, which --set replaces.
    """
    return Job.read(find_config(parsed.config), {**(defaults or {}), **parse_overrides([*parsed.set, *changes])})


@contextlib.contextmanager
def errors_as_messages(parser: argparse.ArgumentParser, *others: type[Exception]) -> Iterator[None]:
    """Ends the process with one line: code 2 where what a user gave is wrong, 130 after Ctrl-C.

    Args:
        parser: Of the command line.
        others: Errors that say so, beside those of the package.
    """
    try:
        yield
    except (NncfMcqError, *others) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, "interrupted\n")


def show(*tables: RenderableType, width: int = _WIDTH) -> None:
    """Prints to a terminal in its width, and else in one that no column is cut at.

    Args:
        tables: What is printed.
        width: Where there is no terminal.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else width)
    for table in tables:
        console.print(table)
