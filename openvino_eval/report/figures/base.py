"""Figures of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Trace = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Content of a figure as text.

    Attributes:
        headings: Of the columns.
        rows: One value for each heading.
        text_columns: So many columns at the left are names, the others figures.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


@dataclass(frozen=True)
class Choice:
    """One of several views of a figure.

    Attributes:
        name: What it is chosen by.
        caption: What it shows.
        data: Its traces.
    """

    name: str
    caption: str
    data: Sequence[Trace]


@dataclass(frozen=True)
class Figure:
    """A plot.

    Attributes:
        name: Part of the element's id.
        title: The heading.
        description: What it shows, in a sentence: the text alternative.
        data: Plotly's traces.
        layout: Plotly's layout, without what all figures have in common.
        height: In pixels.
        table: The same as text; None where another table of the report has it.
        choices: Views of which one is shown at a time.
        first: Index of the one that is shown at the beginning.
    """

    name: str
    title: str
    description: str
    data: Sequence[Trace]
    layout: Mapping[str, object]
    height: int
    table: Table | None = None
    choices: Sequence[Choice] = field(default_factory=list)
    first: int = 0


def bits_text(bits: int | None) -> str:
    """A width in words."""
    return "float" if bits is None else f"{bits} bit" if bits == 1 else f"{bits} bits"


def figures(found: Iterable[Figure | None]) -> list[Figure]:
    """Those that there are."""
    return [figure for figure in found if figure is not None]


def shortened(name: str, length: int = 42) -> str:
    """The end of a long name, which tells layers apart."""
    return name if len(name) <= length else "…" + name[-(length - 1) :]
