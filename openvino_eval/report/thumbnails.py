"""Weights of all layers at a glance: small drawings that need neither a script nor a mouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from openvino_eval.report.figures import Choice

WIDTH: Final = 150
HEIGHT: Final = 54


@dataclass(frozen=True)
class Thumbnail:
    """One layer's weights, as SVG paths in a box of `WIDTH` x `HEIGHT`.

    Attributes:
        name: The layer.
        caption: What there is to say of it.
        before: Outline of the float weights' density.
        after: A line for each level, as high as its density.
        thresholds: Horizontal positions of -1 and 1.
        level_width: Width of a level's line.
    """

    name: str
    caption: str
    before: str
    after: str
    thresholds: tuple[float, float]
    level_width: float


def thumbnail(choice: Choice, reach: float) -> Thumbnail:
    """The drawing of one view of the weights' figure.

    Args:
        choice: The view: levels first, then the float weights.
        reach: The horizontal axis goes from minus to plus this.
    """
    levels, before = choice.data
    # Levels at the ends of the range collect all that is clipped: they may stand out of the box.
    highest = max(max(before["y"]) * 1.15, 1e-9)

    def place(x: float, y: float) -> str:
        return f"{_across(x, reach):.1f} {HEIGHT * (1 - min(y / highest, 1.0)):.1f}"

    outline = " ".join(place(x, y) for x, y in zip(before["x"], before["y"], strict=True))
    stems = "".join(
        f"M{_across(x, reach):.1f} {HEIGHT}L{place(x, y)}"
        for x, y in zip(levels["x"], levels["y"], strict=True)
        if y > 0
    )
    return Thumbnail(
        name=choice.name,
        caption=choice.caption,
        before=f"M0 {HEIGHT}L{outline}L{WIDTH} {HEIGHT}",
        after=stems,
        thresholds=(_across(-1, reach), _across(1, reach)),
        level_width=max(round(levels["width"] * WIDTH / (2 * reach), 2), 0.4),
    )


def thumbnails(choices: Sequence[Choice], reach: float) -> list[Thumbnail]:
    """The drawings of all views."""
    return [thumbnail(choice, reach) for choice in choices]


def _across(x: float, reach: float) -> float:
    return WIDTH * (x + reach) / (2 * reach)
