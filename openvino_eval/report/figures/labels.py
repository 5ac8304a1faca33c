"""Places for the labels of points, so that they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

POSITIONS: Final = {
    "top center": (-0.5, -1.0),
    "bottom center": (-0.5, 1.0),
    "middle right": (0.0, 0.0),
    "middle left": (-1.0, 0.0),
    "top right": (0.0, -1.0),
    "top left": (-1.0, -1.0),
    "bottom right": (0.0, 1.0),
    "bottom left": (-1.0, 1.0),
}
"""Plotly's places, the best first: where a label begins, in its own widths, and on which side of its point it is."""

_CHARACTER: Final = 6.0
_LINE: Final = 14.0
_POINT: Final = 6.0


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        """Area in common with another."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


def label_positions(points: Sequence[tuple[float, float]], labels: Sequence[str]) -> list[str]:
    """A place for each label, point by point: the first that is free, or else the one that covers least.

    Args:
        points: Right and down, in pixels.
        labels: Their texts.

    Returns:
        Names of `POSITIONS`, which are values of Plotly's `textposition`.
    """
    taken = [_Box(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    places = []
    for (x, y), label in zip(points, labels, strict=True):
        boxes = {place: _label_box(x, y, len(label) * _CHARACTER, place) for place in POSITIONS}
        best = min(boxes, key=lambda place: sum(boxes[place].overlap(other) for other in taken))
        taken.append(boxes[best])
        places.append(best)
    return places


def _label_box(x: float, y: float, width: float, place: str) -> _Box:
    begin, side = POSITIONS[place]
    # Beside a point, a label begins behind it; above and below, at the point itself.
    gap = 0.0 if begin == -0.5 or side else (_POINT + 2 if begin == 0 else -_POINT - 2)
    left, middle = x + begin * width + gap, y + side * (_POINT + _LINE / 2)
    return _Box(left, middle - _LINE / 2, left + width, middle + _LINE / 2)
