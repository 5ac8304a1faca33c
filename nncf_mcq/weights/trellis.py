"""Trellis-coded weights: at the same bit-width about 35 % less error than the levels of a grid leave.

A weight of b bits chooses among 2^b values as on a grid, but which 2^b of the 2^(b+1) values of the alphabet these are
depends on the weights before it. So neighbouring values of the alphabet are half as far apart, and the sequence of all
weights is found that suits best.

The weights of a layer, its matrix (rows, columns), are one stream: the rows in blocks of equal length, in each block
column after column, in each column row after row. Of n blocks the first one has the first of each n rows, and so on. A
level is `2 index + branch`. The branches of a weight and of the `MEMORY` weights before it in the stream are the
window, newest in the lowest bit; zero before the first weight. The window says which of four subsets the value is in
(every fourth value of the alphabet), the index which of them it is.

Source: Ungerboeck, "Channel coding with multilevel/phase signals", IEEE Transactions on Information Theory 28(1), 1982;
Marcellin and Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources", IEEE Transactions on
Communications 38(1), 1990. For weights of networks: Tseng et al., "QTIP: Quantization with Trellises and Incoherence
Processing", NeurIPS 2024.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nncf_mcq.config.coding import needs_grids
from nncf_mcq.config.schema import CompressionConfig, WeightsConfig
from nncf_mcq.model.layers import QuantizableLayer

MEMORY = 5
"""Branches before its own that the value of a weight depends on: the trellis has 2^MEMORY states."""

_STATES = 2**MEMORY
SUBSETS = 4
"""Of the alphabet: every fourth value is of the same."""

_TAPS = (0o53, 0o75)
"""Of the convolutional code of rate 1/2 and largest free distance: bit j is the branch j weights ago."""

_CODED_KINDS = ("convolution", "matmul")

_FEWEST_WEIGHTS = 4096
"""A code needs some hundred bytes for shapes and gaps; in a smaller layer a third of a bit is less than that."""

FEWEST_WEIGHTS_OF_MODEL = 1 << 19
"""In large enough layers, by default: what a code wins is worth about a third of a bit of each weight, and in the .xml
it takes as many bytes as a third of a bit of a quarter of a million weights."""

_SHORTEST_BLOCK = 32
"""Rows: blocks are searched side by side, and those that are shorter have less to choose from."""

# The positive halves, smallest first: alphabets of least error for normally distributed weights by a generalized Lloyd
# iteration, as whole numbers. All stay within -63..63, which no kernel of a CPU adds up to more than it can hold.
_HALVES: dict[int, tuple[int, ...]] = {
    2: (7, 20, 36, 63),
    3: (3, 7, 12, 17, 24, 32, 44, 63),
    4: (1, 3, 5, 7, 9, 11, 13, 15, 18, 20, 23, 27, 32, 39, 48, 63),
    5: (
        *(1, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14),
        *(15, 16, 17, 18, 20, 21, 23, 24, 26, 28, 30, 33, 37, 43, 50, 63),
    ),
}

TRELLIS_BITS = tuple(_HALVES)
"""Bit-widths that have an alphabet."""

_LARGEST_DEVIATIONS: dict[int, float] = {2: 1.861, 3: 2.358, 4: 2.683, 5: 2.949}
"""The largest value of the alphabet in standard deviations of the weights that it is best for."""


@dataclass(frozen=True)
class Blocks:
    """How the rows of a layer lie in its stream.

    Attributes:
        count: Number of blocks.
        length: Rows of each.
    """

    count: int
    length: int

    @classmethod
    def of(cls, rows: int) -> Blocks:
        """The most blocks that are not too short; one where no number of rows divides them."""
        count = max((n for n in range(1, rows // _SHORTEST_BLOCK + 1) if rows % n == 0), default=1)
        return cls(count, rows // count)


def settle_coding(compression: CompressionConfig, layers: Iterable[QuantizableLayer]) -> WeightsConfig:
    """How the weights of a model are quantized, in which "automatic" has become one of the codings.

    Args:
        compression: That section of the configuration.
        layers: One of each group that shares its weights.
    """
    weights = compression.weights
    if weights.coding != "automatic":
        return weights
    count = sum(layer.weights for layer in layers if can_be_coded(layer) and _is_large(layer))
    is_coded = count >= FEWEST_WEIGHTS_OF_MODEL and not needs_grids(compression)
    return weights.model_copy(update={"coding": "trellis" if is_coded else "uniform"})


def can_be_coded(layer: QuantizableLayer) -> bool:
    """Whether the weights of a layer can be trellis-coded.

    Those of depthwise and grouped convolutions are not: the few weights of a channel need a zero point of their own.
    Those of recurrent layers and embeddings are read in other forms.

    Args:
        layer: The layer.
    """
    return layer.kind in _CODED_KINDS and layer.groups == 1 and layer.rows > 1


def is_tried(layer: QuantizableLayer, bits: int, config: WeightsConfig) -> bool:
    """Whether a trellis code is tried for the weights of a layer at a bit-width.

    Args:
        layer: The layer.
        bits: Width.
        config: Whether to code at all, see `settle_coding`.
    """
    return config.coding == "trellis" and bits in TRELLIS_BITS and can_be_coded(layer) and _is_large(layer)


def _is_large(layer: QuantizableLayer) -> bool:
    return layer.rows > MEMORY and layer.columns > 1 and layer.rows * layer.columns >= _FEWEST_WEIGHTS


def alphabet(bits: int) -> npt.NDArray[np.int8]:
    """(2^(bits + 1),) ascending values that weights of a width may have, before the scale."""
    half = np.array(_HALVES[bits], dtype=np.int8)
    return np.concatenate([-half[::-1], half])


def unit_scale(bits: int) -> float:
    """The scale for weights of standard deviation 1."""
    return _LARGEST_DEVIATIONS[bits] / _HALVES[bits][-1]


@functools.cache
def subset_of_window() -> npt.NDArray[np.int64]:
    """(2^(MEMORY + 1),) the subset that a window of branches stands for.

    Of the two branches that leave a state, as of the two that enter one, the subsets are two apart: their values are
    as far from each other as those of the grid of the bit-width.
    """
    windows = np.arange(2 * _STATES)
    first, second = (
        np.bitwise_xor.reduce([windows >> bit & taps >> bit & 1 for bit in range(MEMORY + 1)]) for taps in _TAPS
    )
    found: npt.NDArray[np.int64] = np.array([0, 1, 3, 2])[2 * second + first]
    return found


@functools.cache
def window_values(bits: int) -> npt.NDArray[np.int8]:
    """(2^(bits - 1 + MEMORY + 1),) the value for each `index << (MEMORY + 1) | window`."""
    indices = np.arange(2 ** (bits - 1))[:, None]
    found: npt.NDArray[np.int8] = alphabet(bits)[SUBSETS * indices + subset_of_window()].reshape(-1)
    return found


def to_stream(matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The elements of a matrix (rows, columns) in the order of the stream."""
    rows, columns = matrix.shape
    blocks = Blocks.of(rows)
    return matrix.reshape(blocks.length, blocks.count, columns).transpose(1, 2, 0).reshape(-1)


def decode(levels: npt.NDArray[np.integer], bits: int) -> npt.NDArray[np.int8]:
    """The whole numbers that the levels of a layer stand for.

    Args:
        levels: (rows, columns), from 0 to 2^bits - 1.
        bits: Width.

    Returns:
        (rows, columns) values of the alphabet.
    """
    rows, columns = levels.shape
    blocks = Blocks.of(rows)
    stream = to_stream(levels).astype(np.int64)
    branches = np.concatenate([np.zeros(MEMORY, dtype=np.int64), stream & 1])
    window = sum(branches[MEMORY - age : len(branches) - age] << age for age in range(MEMORY + 1))
    values = window_values(bits)[(stream >> 1) << (MEMORY + 1) | window]
    found: npt.NDArray[np.int8] = values.reshape(blocks.count, columns, blocks.length).transpose(2, 0, 1)
    return found.reshape(rows, columns)
