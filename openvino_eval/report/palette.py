"""The names of the colours of a figure: of series and of bit-widths."""

from __future__ import annotations

from typing import Final

SERIES: Final = 10
"""How many `series-N` there are."""


def series(index: int) -> str:
    """The name of the colour of a series, for a figure."""
    return f"$series-{index % SERIES + 1}"


def bits_colour(bits: int | None) -> str:
    """The name of the colour of a width, for a figure."""
    return f"$bits-{'float' if bits is None else min(bits, 8)}"
