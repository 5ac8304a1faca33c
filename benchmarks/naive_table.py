"""The straightforward weight table: one loop inside the other, every channel and candidate on its own.

It computes what `build_weight_table` does with error-compensated rounding and the four default rules, per channel, so
that the two can be compared; nothing here is shared with the package but the definition of the grids' candidates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]

RULES = ("max", "percentile", "mse", "output_mse")
CANDIDATES, SMALLEST_RATIO, PERCENTILE, DAMPING = 32, 0.2, 0.999, 0.01


@dataclass(frozen=True)
class Scale:
    """`weight = step * (level - zero)` for the levels low..high."""

    step: float
    zero: float
    low: int
    high: int

    def round(self, weights: Vector) -> Vector:
        """Nearest levels."""
        return np.clip(np.round(weights / np.float32(self.step)) + np.float32(self.zero), self.low, self.high)

    def values(self, levels: Vector) -> Vector:
        """Values of levels."""
        result: Vector = (levels - np.float32(self.zero)) * np.float32(self.step)
        return result


@dataclass(frozen=True)
class NaiveEntry:
    """A layer at one width.

    Attributes:
        integers: (groups, rows, columns) levels minus their zero point: `weight = scale * integer`.
        scale: (groups, rows), gain included.
        relative_error: Of the layer's output.
    """

    integers: NDArray[np.int16]
    scale: Matrix
    relative_error: float


def quantize_layer(
    weights: NDArray[np.float32], covariance: NDArray[np.float32], bits: Sequence[int], symmetric: bool
) -> Mapping[int, NaiveEntry]:
    """One layer at each width.

    Args:
        weights: (groups, rows, columns).
        covariance: (groups, columns, columns) of the layer's input.
        bits: Widths.
        symmetric: Levels around zero also below 8 bits.
    """
    prepared = [_factorize(group) for group in covariance]
    found = {}
    for width in bits:
        integers = np.empty(weights.shape, dtype=np.int16)
        scales = np.empty(weights.shape[:2], dtype=np.float32)
        error = total = 0.0
        for group in range(weights.shape[0]):
            order, factor = prepared[group]
            for row in range(weights.shape[1]):
                channel = weights[group, row]
                best = _quantize_channel(channel, covariance[group], order, factor, width, symmetric or width == 8)
                integers[group, row], scales[group, row], channel_error, variance = best
                error += channel_error
                total += variance
        found[width] = NaiveEntry(integers, scales, error / max(total, 1e-20))
    return found


def _quantize_channel(
    channel: Vector, covariance: Matrix, order: NDArray[np.intp], factor: Matrix, bits: int, symmetric: bool
) -> tuple[Vector, float, float, float]:
    """The rule of least output error; returns integers, step with the gain, error and the float output's variance."""
    least = math.inf
    for rule in RULES:
        scale = _find_scale(rule, channel, np.diagonal(covariance), bits, symmetric)
        levels = _round_with_compensation(channel, scale, order, factor)
        quantized = scale.values(levels)
        product = quantized @ covariance
        numerator, denominator = float(product @ channel), float(product @ quantized)
        gain = numerator / denominator if denominator > 1e-20 and numerator > 0 else 1.0
        difference = quantized * np.float32(gain) - channel
        error = max(float((difference @ covariance) @ difference), 0.0)
        if error < least:
            least, chosen, fitted, step = error, levels - scale.zero, quantized * np.float32(gain), scale.step * gain
    wanted = float((channel @ covariance) @ channel)
    energy = float((fitted @ covariance) @ fitted)
    factor_of_energy = min(max(math.sqrt(wanted / energy), 0.5), 2.0) if min(energy, wanted) > 1e-20 else 1.0
    difference = fitted * np.float32(factor_of_energy) - channel
    error = max(float((difference @ covariance) @ difference), 0.0)
    return chosen, step * factor_of_energy, error, max(wanted, 0.0)


def _find_scale(rule: str, channel: Vector, variance: Vector, bits: int, symmetric: bool) -> Scale:
    if rule == "max":
        return _scale_of_range(float(channel.min()), float(channel.max()), bits, symmetric)
    if rule == "percentile":
        if symmetric:
            high = float(np.quantile(np.abs(channel), PERCENTILE))
            return _scale_of_range(-high, high, bits, symmetric)
        low, high = (float(np.quantile(channel, share)) for share in ((1 - PERCENTILE) / 2, (1 + PERCENTILE) / 2))
        return _scale_of_range(low, high, bits, symmetric)
    largest = _scale_of_range(float(channel.min()), float(channel.max()), bits, symmetric)
    zeros = [largest.zero]
    if not symmetric and bits <= 4:
        direction = 1.0 if largest.zero < 2.0 ** (bits - 1) - 0.5 else -1.0
        zeros += [largest.zero + direction * offset for offset in ((1.0,) if bits > 2 else (1.0, 2.0))]
    least, best = math.inf, largest
    for zero in zeros:
        for ratio in np.linspace(SMALLEST_RATIO, 1.0, CANDIDATES, dtype=np.float32):
            step = max(float(ratio * np.float32(largest.step)), 1e-12)
            scale = Scale(step, min(max(zero, largest.low * symmetric), 2**bits - 1), largest.low, largest.high)
            squares = np.square(scale.values(scale.round(channel)) - channel)
            error = float((squares * variance).sum() if rule == "output_mse" else squares.sum())
            if error < least:
                least, best = error, scale
    return best


def _scale_of_range(low: float, high: float, bits: int, symmetric: bool) -> Scale:
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        half = 2 ** (bits - 1)
        return Scale(max(float(np.float32(max(-low, high)) / np.float32(half - 1)), 1e-12), half, 1, 2**bits - 1)
    top = 2**bits - 1
    step = max(float((np.float32(high) - np.float32(low)) / np.float32(top)), 1e-12)
    return Scale(step, float(np.clip(np.round(np.float32(-low) / np.float32(step)), 0, top)), 0, top)


def _factorize(covariance: Matrix) -> tuple[NDArray[np.intp], Matrix]:
    """Order of the columns, and the upper Cholesky factor of the inverse of the damped, reordered covariance."""
    diagonal = np.diagonal(covariance)
    order = np.argsort(-diagonal, kind="stable")
    reordered = covariance[np.ix_(order, order)].astype(np.float64)
    level = max(float(diagonal.mean()), 1e-12)
    inverse = np.linalg.inv(reordered + DAMPING * level * np.eye(len(order)))
    return order, np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float32)


def _round_with_compensation(channel: Vector, scale: Scale, order: NDArray[np.intp], factor: Matrix) -> Vector:
    """GPTQ, one column after another."""
    work = channel[order].copy()
    rounded = np.empty_like(work)
    for column in range(len(work)):
        rounded[column : column + 1] = scale.round(work[column : column + 1])
        error = (work[column] - scale.values(rounded[column : column + 1])[0]) / factor[column, column]
        work[column + 1 :] -= error * factor[column, column + 1 :]
    levels = np.empty_like(rounded)
    levels[order] = rounded
    return levels
