"""Boxes as YOLOX's network gives them: a place in a cell and the logarithms of the sides, row by row of its maps."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST_LOGARITHM: Final = 20.0
"""Of a side in cells: no image is that large, and areas stay finite."""

_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64))
_LARGE: Final = 0.9
_LARGEST_SIDE: Final = 6.0
"""Of nine tenths of the logarithms: e^6 cells are wider than an image. Pixels are more: cells have 8 or more."""

_SOME: Final = 0.01
"""Share of the sides that are negative, at least: sides in pixels never are, and most cells hold small boxes."""


class Cells(NamedTuple):
    """Cells of all maps of a detector, in the order of its rows.

    Attributes:
        places: (cells, 2) column and row in the cell's map.
        strides: (cells, 1) sides in pixels.
    """

    places: NDArray[np.float64]
    strides: NDArray[np.float64]

    def in_pixels(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes (cells, 4) of a place in a cell and logarithms -> centre x, y, width and height in pixels.

        Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", 2021, arXiv:2107.08430.
        """
        values = in_cells(boxes)
        values[:, :2] += self.places
        values *= self.strides
        return values


def in_cells(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Boxes (..., 4) of a place in a cell and logarithms -> centre x, y, width and height in units of the cell."""
    values = boxes.astype(np.float64)
    sides = np.exp(np.minimum(values[..., 2:], LARGEST_LOGARITHM))
    found: NDArray[np.float64] = np.concatenate([values[..., :2], sides], axis=-1)
    return found


def are_in_cells(boxes: NDArray[Any]) -> bool:
    """Whether boxes (..., 4) have logarithms as sides.

    Args:
        boxes: Of the float model.
    """
    return bool((boxes[..., 2:] < 0).mean() >= _SOME)


def may_be_in_cells(boxes: NDArray[Any]) -> bool:
    """Whether the sides of boxes (boxes, 4) of one image may be logarithms: in pixels, the larger ones are above that.

    Args:
        boxes: Of any model.
    """
    return bool(np.quantile(boxes[:, 2:], _LARGE) < _LARGEST_SIDE)


def find_cells(rows: int, size: tuple[int, int]) -> Cells | None:
    """The cells of maps that together have a number of rows; None where no usual maps do.

    Args:
        rows: Boxes of the detector.
        size: Height and width of its images in pixels.
    """
    height, width = size
    for strides in _STRIDES:
        shapes = [(-(-height // stride), -(-width // stride)) for stride in strides]
        if sum(high * wide for high, wide in shapes) != rows:
            continue
        maps = [np.indices(shape).reshape(2, -1)[::-1].T for shape in shapes]
        sides = [np.full((len(places), 1), stride) for places, stride in zip(maps, strides, strict=True)]
        return Cells(np.concatenate(maps).astype(np.float64), np.concatenate(sides).astype(np.float64))
    return None
