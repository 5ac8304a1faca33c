"""The lists of `make mutants`: what is broken, by name too, and which survivors are explained."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Group:
    """Modules that are broken together.

    Attributes:
        name: Its name on the command line.
        files: The modules, from the project's root.
        tests: The files of tests that are to notice.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What a mutant does: the lines of a function that it replaces, without their indentation.

    Attributes:
        function: Its full name.
        was: The lines as they are.
        becomes: The lines of the mutant.
    """

    function: str
    was: str
    becomes: str


@dataclass(frozen=True)
class Rule:
    """Changes that make no difference wherever they are made.

    Attributes:
        was: A regular expression; what it finds is replaced.
        becomes: Its replacements.
    """

    was: str
    becomes: tuple[str, ...]

    def allows(self, change: Change) -> bool:
        """Whether the change is nothing but a replacement at one place."""
        return any(
            change.becomes == change.was[: found.start()] + found.expand(text) + change.was[found.end() :]
            for found in re.finditer(self.was, change.was)
            for text in self.becomes
        )


@dataclass(frozen=True)
class Explained:
    """Survivors that are no mistakes.

    Attributes:
        changes: Single ones, and why.
        rules: For many.
    """

    changes: dict[Change, str]
    rules: tuple[Rule, ...]

    def allows(self, change: Change) -> bool:
        """Whether a mutant may survive."""
        return change in self.changes or any(rule.allows(change) for rule in self.rules)


@dataclass(frozen=True)
class NamedMutant:
    """A mistake that was made once, or that the tool cannot make, in constants and in functions with decorators.

    Attributes:
        name: Says what is wrong with it.
        file: The module, from the project's root.
        was: A text that occurs once in it.
        becomes: What replaces the text.
        tests: The files of tests that are to notice.
    """

    name: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...]

    def apply(self, folder: Path) -> None:
        """Changes the module in a copy of the project.

        Raises:
            ValueError: The text does not occur just once.
        """
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.was) != 1:
            raise ValueError(f"{self.name}: found its text {text.count(self.was)} times in {self.file}, expected once")
        path.write_text(text.replace(self.was, self.becomes), encoding="utf-8")


def groups() -> dict[str, Group]:
    """The groups by their name."""
    return {
        name: Group(name, tuple(item["files"]), tuple(item["tests"])) for name, item in _read("modules.toml").items()
    }


def named_mutants() -> list[NamedMutant]:
    """The mutants that are checked by name."""
    return [NamedMutant(**{**item, "tests": tuple(item["tests"])}) for item in _read("named.toml")["mutant"]]


def explained() -> Explained:
    """Mutants that may survive."""
    content = _read("equivalent.toml")
    changes = {
        Change(f"nncf_mcq.{item['function']}", item["was"], becomes): item["why"]
        for item in content["mutant"]
        for becomes in item["becomes"]
    }
    return Explained(changes, tuple(Rule(item["was"], tuple(item["becomes"])) for item in content["rule"]))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / name).read_text(encoding="utf-8"))
