"""The levels that a layer's weights may have, so that its integer kernel computes right on the CPUs asked for.

CPUs without VNNI (AVX2, and AVX-512 before Cascade Lake) add the products of two pairs of 8-bit values in 16 bits, and
cut off what does not fit: 255 * 127 + 255 * 127 > 2^15 - 1. Weights within -64 .. 64 are safe, 2 * 255 * 64 < 2^15. So
the weights of such a layer keep to the symmetric levels of 7 bits. Depthwise kernels add one product at a time: they
keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.range_init.grid import QuantizationMode, is_symmetric

SAFE_BITS: Final = INT8_BITS - 1
"""Symmetric weights of this bit-width, -63 .. 63, cannot saturate."""


@dataclass(frozen=True)
class LevelRange:
    """Levels of the weights of one layer at one bit-width.

    Attributes:
        grid_bits: Bit-width of the grid that weights are rounded to; smaller than that of storage where some of the
            levels must not be used.
        mode: Of that grid.
        offset: Level of the storage that is level 0 of the grid.
        lowest: Smallest level of the storage that is used.
        highest: Largest one.
    """

    grid_bits: int
    mode: QuantizationMode
    offset: int
    lowest: int
    highest: int


def level_range(layer: QuantizableLayer, bits: int, config: WeightsConfig) -> LevelRange:
    """The levels that the weights of a layer may have.

    Args:
        layer: The layer.
        bits: Bit-width of the stored weights.
        config: The mode, and the CPUs that must compute right.
    """
    mode, grid_bits = config.mode, bits
    if config.isa == "any" and bits >= SAFE_BITS and adds_pairs(layer):
        mode, grid_bits = "symmetric", SAFE_BITS
    offset = 2 ** (bits - 1) - 2 ** (grid_bits - 1)
    lowest = 1 if is_symmetric(grid_bits, mode) else 0
    return LevelRange(grid_bits, mode, offset, offset + lowest, offset + 2**grid_bits - 1)


def has_zero_points(layer: QuantizableLayer, bits: int, config: WeightsConfig) -> bool:
    """Whether each channel of a layer has a zero point of its own; see `level_range` for the arguments."""
    return config.per_channel and level_range(layer, bits, config).mode == "asymmetric"


def adds_pairs(layer: QuantizableLayer) -> bool:
    """Whether a kernel without VNNI may add two products of a layer in 16 bits.

    All kernels do but those of depthwise convolutions of one output channel for each input channel.
    """
    is_depthwise = layer.kind == "depthwise_convolution" and layer.rows == 1
    return layer.integer_kernel and layer.columns > 1 and not is_depthwise
