"""Texts of `--help` that both commands share."""

from __future__ import annotations


def examples(*commands: str) -> str:
    """Examples below the options of a command.

    Args:
        commands: Each a line for the shell.

    Returns:
        The `epilog` of a Typer command whose texts are Markdown.
    """
    return "\n".join(["Examples:", "", *(f"- `{command}`" for command in commands)])
