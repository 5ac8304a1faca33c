"""The application that commands are added to."""

from __future__ import annotations

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure OpenVINO models: accuracy, latency, size, and which layers run on integers.",
)
