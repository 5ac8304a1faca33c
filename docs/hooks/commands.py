"""The commands and their options as Markdown, from the command lines themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from nncf_mcq.cli import application
from openvino_eval.cli import app

PROGRAMS = {"nncf-mcq": application, "openvino-eval": app}
_INTRODUCTION = """# Commands

`--help` prints the same for each command. Invalid input gives one message on standard error and exit code 2; after
Ctrl-C the exit code is 130. Progress goes to standard error, results to standard output.
"""


def commands_markdown() -> str:
    """The page."""
    lines = [_INTRODUCTION]
    for program, source in PROGRAMS.items():
        lines += [f"## {program}\n", f"{typer.main.get_command(source).help}\n"]
        for name, command in typer.main.get_command(source).commands.items():  # type: ignore[attr-defined]
            lines += [
                f"### {program} {name}\n",
                f"{_paragraphs(command.help)}\n",
                *_options(command),
                f"{command.epilog}\n",
            ]
    return "\n".join(lines) + "\n"


def _options(command: Any) -> Iterator[str]:
    yield "| | default | |\n| --- | --- | --- |"
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        default = parameter.default
        shown = (
            "*required*"
            if parameter.required
            else ""
            if default in (None, False, ()) or callable(default)
            else f"`{default}`"
        )
        yield f"| {names} | {shown} | {(getattr(parameter, 'help', None) or '').replace('|', chr(92) + '|')} |"
    yield ""


def _paragraphs(text: str | None) -> str:
    return (text or "").strip()
