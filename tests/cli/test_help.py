"""Help of both commands: the same style, with examples that can be typed."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main
import typer.testing

from nncf_mcq.cli import application
from openvino_eval.cli import app

PROGRAMS = {"nncf-mcq": application, "openvino-eval": app}
COMMANDS = [
    (program, name, command)
    for program, source in PROGRAMS.items()
    for name, command in typer.main.get_command(source).commands.items()  # type: ignore[attr-defined]
]
each_command = pytest.mark.parametrize(
    ("program", "name", "command"), COMMANDS, ids=[f"{program} {name}" for program, name, _ in COMMANDS]
)


@each_command
def test_every_command_has_examples_whose_options_exist(program: str, name: str, command: Any) -> None:
    lines = [shlex.split(found) for found in re.findall("^- `(.*)`$", command.epilog or "", re.MULTILINE)]
    assert [program, name] in [words[:2] for words in lines]
    for words in lines:
        (own,) = [found for where, title, found in COMMANDS if [where, title] == words[:2]]
        known = {option for parameter in own.params for option in [*parameter.opts, *parameter.secondary_opts]}
        assert {word for word in words if word.startswith("-")} <= known
        own.make_context(words[1], words[2:]).close()


@each_command
def test_help_shows_every_word(program: str, name: str, command: Any) -> None:
    """Markdown takes `<date>` for an element of HTML, and leaves it out."""
    found = typer.testing.CliRunner().invoke(PROGRAMS[program], [name, "--help"], env={"COLUMNS": "400"})
    assert found.exit_code == 0
    shown = " ".join(re.sub("[│╭╮╰╯─]", " ", found.output).split()).replace("’", "'")
    for text in (command.help, *(getattr(parameter, "help", None) for parameter in command.params)):
        for word in (text or "").replace("`", "").split():
            assert word in shown
