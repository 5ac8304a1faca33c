"""The application that commands are added to."""

from __future__ import annotations

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Begin with `compare` or `report`. Every command has a `--help` with examples.",
    rich_markup_mode="markdown",
    help="Measure OpenVINO models: accuracy, latency, size, and which layers run on integers.",
)
