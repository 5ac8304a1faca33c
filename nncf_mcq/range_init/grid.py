"""The integer grids that weights are rounded to: plain arithmetic, no opinion on where the range comes from.

Weights have the shape (groups, rows, columns) of `QuantizableLayer`; a grid has one scale and one zero point per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from nncf_mcq.policy import INT8_BITS

QuantizationMode = Literal["symmetric", "asymmetric"]
"""Levels around zero, or all levels with a zero point."""

_SMALLEST_SCALE = 1e-12
"""Keeps an all-zero channel on a grid instead of dividing by zero; its levels are all the zero point."""


@dataclass(frozen=True)
class Grid:
    """`weight = scale * (level - zero_point)` for the integer levels `low..high`.

    Attributes:
        scale: (..., rows), positive.
        zero_point: (..., rows), integers stored as float32.
        low: Smallest level.
        high: Largest level.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    low: int
    high: int

    def levels(self, weights: torch.Tensor) -> torch.Tensor:
        """Nearest levels of weights (..., rows, columns), as float32 integers."""
        levels = torch.round(weights / self.scale[..., None]) + self.zero_point[..., None]
        return levels.clamp_(self.low, self.high)

    def values(self, levels: torch.Tensor) -> torch.Tensor:
        """The weights that levels stand for."""
        return (levels - self.zero_point[..., None]) * self.scale[..., None]

    def quantize(self, weights: torch.Tensor) -> torch.Tensor:
        """Weights rounded to the nearest point of the grid."""
        return self.values(self.levels(weights))

    @property
    def range_low(self) -> torch.Tensor:
        """Smallest weight on the grid, (..., rows)."""
        return (self.low - self.zero_point) * self.scale

    @property
    def range_high(self) -> torch.Tensor:
        """Largest weight on the grid, (..., rows)."""
        return (self.high - self.zero_point) * self.scale


def is_symmetric(bits: int, mode: QuantizationMode) -> bool:
    """8-bit weights are always symmetric: a zero point other than 128 would not run on int8 kernels."""
    return mode == "symmetric" or bits == INT8_BITS


def grid_from_range(low: torch.Tensor, high: torch.Tensor, bits: int, mode: QuantizationMode) -> Grid:
    """The grid of a width that covers a range.

    Args:
        low: (..., rows) lower ends, at most 0 (larger values count as 0: a grid always holds zero).
        high: (..., rows) upper ends, at least 0.
        bits: 2..8.
        mode: symmetric: 2^b - 1 levels around zero, reaching the larger end. asymmetric: all 2^b levels, the zero point
            rounded to an integer.
    """
    low, high = low.clamp_max(0), high.clamp_min(0)
    if is_symmetric(bits, mode):
        half = 2 ** (bits - 1)
        scale = (torch.maximum(-low, high) / (half - 1)).clamp_min(_SMALLEST_SCALE)
        return Grid(scale, torch.full_like(scale, half), 1, 2**bits - 1)
    top = 2**bits - 1
    scale = ((high - low) / top).clamp_min(_SMALLEST_SCALE)
    zero_point = torch.round(-low / scale).clamp_(0, top)
    return Grid(scale, zero_point, 0, top)


def grid_from_scale(scale: torch.Tensor, zero_point: torch.Tensor, bits: int, mode: QuantizationMode) -> Grid:
    """The grid with this scale and, in asymmetric mode, this zero point."""
    scale = scale.clamp_min(_SMALLEST_SCALE)
    if is_symmetric(bits, mode):
        return Grid(scale, torch.full_like(scale, 2 ** (bits - 1)), 1, 2**bits - 1)
    return Grid(scale, zero_point.clamp(0, 2**bits - 1), 0, 2**bits - 1)
