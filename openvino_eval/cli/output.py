"""Output of the commands: what they print, and JSON files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from nncf_mcq.utils import write_text_atomically
from openvino_eval.errors import EvaluationError


def finish(tables: Table | Sequence[Table], json_file: Path | None, result: object) -> None:
    """Show a result, and write it where asked.

    Args:
        tables: For the terminal.
        json_file: Where to write `result`, if anywhere.
        result: Plain data.

    Raises:
        EvaluationError: The file cannot be written.
    """
    failure: EvaluationError | None = None
    if json_file is not None:
        # First: who reads what is printed may have gone.
        try:
            write_text_atomically(json_file, json.dumps(result, indent=2) + "\n")
        except OSError as error:
            failure = EvaluationError(f"{json_file}: cannot be written: {error.strerror}")
    # A pipe has no width of its own; 80 columns would cut the figures.
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in [tables] if isinstance(tables, Table) else tables:
        console.print(table)
    if failure is not None:
        raise failure


def column(heading: str) -> Column:
    """A right-aligned column, for figures.

    Args:
        heading: Its heading.

    Returns:
        A `rich` column.
    """
    return Column(heading, justify="right")
