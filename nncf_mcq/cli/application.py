"""The application that commands are added to, and where they print."""

from __future__ import annotations

import typer
from rich.console import Console

from nncf_mcq.config.registry import load_plugins

application = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Mixed-precision quantization of convolutional networks for OpenVINO, from a JSON configuration.",
    epilog="Begin with `init`. Every command has a `--help` with examples.",
    rich_markup_mode="markdown",
)


@application.callback()
def prepare() -> None:
    """Mixed-precision quantization of convolutional networks for OpenVINO, from a JSON configuration."""
    # Only where a command is named: a plugin may import anything, and help is to come at once.
    load_plugins()


console = Console()
if not console.is_terminal:
    # A pipe has no width: lines as wide as they need, rather than names cut at 80 columns.
    console = Console(width=200)
errors = Console(stderr=True, soft_wrap=True, highlight=False)
