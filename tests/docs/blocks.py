"""Code blocks of Markdown files, fenced and indented."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)?(?:[^\n]*?title=\"([^\"]*)\")?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAMS = ("nncf-mcq", "openvino-eval", "make", "python", "pip", "source")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        file: Where it stands.
        language: What it is written in.
        title: Of it; for a fragment of JSON, its place in the configuration.
        text: Its lines.
    """

    file: Path
    language: str
    title: str
    text: str


def fenced(file: Path, language: str) -> list[Block]:
    """The fenced blocks of a language."""
    found = _FENCE.findall(file.read_text(encoding="utf-8"))
    return [Block(file, kind, title, text) for kind, title, text in found if kind == language]


def commands(file: Path) -> Iterator[list[str]]:
    """Command lines of shell blocks and of indented blocks, as words, without environment variables before them."""
    text = file.read_text(encoding="utf-8")
    lines = [line for block in fenced(file, "sh") for line in _joined(block.text)]
    indented = "\n".join(line[4:] if line.startswith("    ") else "" for line in _FENCE.sub("", text).splitlines())
    lines += [line for line in _joined(indented) if line.split(" ")[0].rsplit("/")[-1].split("=")[0] in _STARTS]
    for line in lines:
        words = shlex.split(re.sub(r"\[(-[^\]]*)\]", r"\1", line), comments=True)
        while words and re.match(r"^[A-Z_]+=", words[0]):
            words = words[1:]
        if words:
            yield words


_STARTS = (*_PROGRAMS, "OMP_NUM_THREADS")


def _joined(text: str) -> list[str]:
    """Lines with those that go on, by a backslash or in an open quotation, in one."""
    lines: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if lines and lines[-1].count("'") % 2:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.strip())
    return lines
