"""Ranges of this package in the quantizers of NNCF 2, and trained levels out of them.

The quantizers are written to directly: `apply_minmax_init` of NNCF 2 raises a scale below 0.1 to 0.1, and a range below
one percent of the layer's widest channel to that, which would undo the clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nncf.torch.quantization.layers import AsymmetricQuantizer, BaseQuantizer, SymmetricQuantizer
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError
from nncf_mcq.policy import INT8_BITS, SUPPORTED_BITS


@dataclass(frozen=True)
class Grid:
    """Values that a quantizer rounds to: (level - zero_point) * step for level in lowest .. highest.

    Attributes:
        step: Scalar, or one per channel.
        zero_point: Of the same shape; whole numbers.
        bits: Bit-width.
        lowest: 0, or 1 where one level is not used, so that the grid is symmetric.
        highest: Largest level.
    """

    step: NDArray[np.float64]
    zero_point: NDArray[np.float64]
    bits: int
    lowest: int
    highest: int

    @property
    def low(self) -> NDArray[np.float64]:
        """The lowest value."""
        return (self.lowest - self.zero_point) * self.step

    @property
    def high(self) -> NDArray[np.float64]:
        """The highest value."""
        return (self.highest - self.zero_point) * self.step

    @property
    def is_asymmetric(self) -> bool:
        """Whether it reaches below zero, but not as far as above."""
        middle = 2 ** (self.bits - 1)
        return bool((self.zero_point > 0).any() and (self.zero_point != middle).any())

    def scaled(self, factors: NDArray[np.float64]) -> Grid:
        """The grid of values that are multiplied: a negative factor turns it round.

        Args:
            factors: One per channel, none of them 0.
        """
        step, zero_point = np.broadcast_arrays(self.step, self.zero_point)
        turned = np.where(factors < 0, self.highest + self.lowest - zero_point, zero_point)
        return Grid(step * np.abs(factors), turned, self.bits, self.lowest, self.highest)

    def turned(self, levels: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Levels (channels, columns) of a grid on the grid that `scaled` makes of it."""
        return np.where(factors[:, None] < 0, self.highest + self.lowest - levels, levels)


@torch.no_grad()
def set_range(quantizer: BaseQuantizer, grid: Grid) -> None:
    """Gives a quantizer the range of a grid.

    Args:
        quantizer: Of NNCF 2.
        grid: One range, or one per channel: where the quantizer has one range for all, it gets the widest.
    """
    shape = quantizer.scale_shape
    count = int(np.prod(shape))
    low, high = np.broadcast_arrays(grid.low, grid.high)
    if np.size(low) not in (1, count):
        low, high = np.min(low), np.max(high)
    lows, highs = (
        torch.from_numpy(np.broadcast_to(np.reshape(values, -1), (count,)).astype(np.float32).reshape(shape))
        for values in (low, high)
    )
    if isinstance(quantizer, SymmetricQuantizer):
        quantizer.signed = bool((lows < 0).any())
        _store(quantizer, quantizer._scale_param_storage, highs)
    elif isinstance(quantizer, AsymmetricQuantizer):
        quantizer.input_low.copy_(lows)
        _store(quantizer, quantizer._input_range_param_storage, highs - lows)
    else:
        raise QuantizationError(f"found {type(quantizer).__name__}, allowed: a symmetric or asymmetric quantizer")
    # The ranges are not to be initialized again.
    quantizer.initialized = True


def _store(quantizer: BaseQuantizer, storage: torch.Tensor, values: torch.Tensor) -> None:
    storage.copy_(values.log() if quantizer.is_using_log_scale_storage else values)


@torch.no_grad()
def read_grid(quantizer: BaseQuantizer) -> Grid:
    """The grid of a quantizer as it is now; its step and zero point have the shape of the quantizer's scale.

    Raises:
        QuantizationError: Its bit-width is not one of 2 to 8, or its range is not finite.
    """
    bits = int(quantizer.num_bits)
    if bits not in SUPPORTED_BITS:
        raise QuantizationError(f"a quantizer of NNCF 2: found {bits} bits, allowed: 2 to {INT8_BITS}")
    quantizer.set_levels()
    low, high = (value.detach().cpu().double().numpy() for value in quantizer.get_input_low_input_high())
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise QuantizationError("a quantizer of NNCF 2: after the training its range is not finite")
    levels = int(quantizer.levels)
    step = np.maximum(high - low, np.finfo(np.float32).tiny) / (levels - 1)
    if isinstance(quantizer, SymmetricQuantizer) and quantizer.signed:
        # A narrow or a half range uses fewer than all levels around the middle.
        zero_point = 2 ** (bits - 1)
        lowest, highest = zero_point + int(quantizer.level_low), zero_point + int(quantizer.level_high)
        return Grid(step, np.full_like(step, zero_point), bits, lowest, highest)
    return Grid(step, np.clip(np.rint(-low / step), 0, levels - 1), bits, 0, levels - 1)


@torch.no_grad()
def read_levels(quantizer: BaseQuantizer, grid: Grid, weights: torch.Tensor) -> NDArray[np.float64]:
    """The levels that a quantizer rounds weights to, in their shape.

    Args:
        quantizer: Of the weights.
        grid: Its grid, from `read_grid`.
        weights: The weights.

    Raises:
        QuantizationError: A weight is not finite.
    """
    if not bool(torch.isfinite(weights).all()):
        raise QuantizationError("after the training the weights hold values that are not finite")
    rounded = quantizer.quantize(weights.detach()).cpu().double().numpy()
    levels: NDArray[np.float64] = np.clip(np.rint(rounded / grid.step + grid.zero_point), grid.lowest, grid.highest)
    return levels
