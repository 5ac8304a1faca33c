"""Scales of the channels between layers with which weights and activations together are quantized with least error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from nncf_mcq.calibration.channel_moments import ChannelMoments
from nncf_mcq.weights.rounding import prepare_compensation

Floats = NDArray[np.float64]

BITS_OF_FACTOR = 8
"""In which a factor is stored."""

LARGEST_FACTOR = 255
"""Factors of inputs, one over the scales, are whole numbers from 1, since their unit does not matter."""

_WEIGHT_NORM = 8
_INPUT_NORM = 16
"""Norms in the place of the largest of several values: smooth, and ranges are clipped, so that several decide them."""

_DEVIATIONS = 4.0
"""Standard deviations from the mean that the range of a channel reaches, where it has values so far out."""

_FEW_SAMPLES = 128
"""With so many, half is taken for granted of what they say of a channel, with fewer that any may be as large as the
largest one. A fully connected layer sees one of each image: what is silent on 32 images need not be so on others."""

_SMALLEST = 1e-4
"""Magnitudes of channels relative to the largest one: what is less says nothing."""

_ITERATIONS = 100


class Reader:
    """A layer that reads channels which may have scales: its error as a function of their logarithms.

    With scales s it computes `sum_i (w_i s_i) (x_i / s_i)`. The step of an output channel's weights follows from its
    largest one, and their errors meet the variances v of the inputs; the step of the input follows from its channel of
    the largest range r, and its errors meet the weights:

        sum_o max_i (2 w_oi s_i)^2 / levels_w^2 sum_i v_i / s_i^2  +  max_i (r_i / s_i)^2 / levels_x^2 sum_i w_i^2 s_i^2

    is 12 times the variance of the output's error. Since rounding compensates what other inputs can make good for, v
    is the variance of an input that those rounded after it do not tell (the diagonal of `prepare_compensation`).

    Args:
        weights: (rows, channels, positions).
        moments: Of its input.
        weight_bits: Bit-width of the weights.
        input_bits: Bit-width of the input.
        input_errors: The input's error is counted so many times.

    Attributes:
        weights: Number of them.
        tells: Whether any scales are better than others.
        channels: Number of channels that it reads.
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        moments: ChannelMoments,
        weight_bits: int,
        input_bits: int,
        *,
        input_errors: float = 1,
    ) -> None:
        magnitudes = np.abs(weights.astype(np.float64))
        self.weights, self.channels = weights.size, weights.shape[1]
        self._largest = magnitudes.max(axis=2)
        self._squares = np.square(magnitudes).sum(axis=(0, 2))
        self._variances = weights.shape[2] * _conditional_variances(moments.covariance)
        deviations = moments.covariance.diagonal().sqrt().numpy()
        ranges = np.minimum(moments.largest.numpy(), np.abs(moments.mean.numpy()) + _DEVIATIONS * deviations)
        trust = moments.samples / (moments.samples + _FEW_SAMPLES)
        ranges, self._variances = (trust * values + (1 - trust) * values.max() for values in (ranges, self._variances))
        self._ranges = np.maximum(ranges, _SMALLEST * ranges.max())
        self._weight_levels = 2.0**weight_bits - 1
        self._input_levels = 2.0**input_bits - 1
        self._input_errors = input_errors
        self.tells = bool(
            weights.shape[1] > 1 and self._largest.max() > 0 and self._variances.max() > 0 and ranges.max() > 0
        )
        # A channel without weights takes any scale: as one with very small ones it takes a moderate one.
        self._largest = np.maximum(self._largest, _SMALLEST * self._largest.max())
        self._variances = np.maximum(self._variances, _SMALLEST**2 * self._variances.max())

    @cached_property
    def unscaled_error(self) -> float:
        """The error with scales of one."""
        return self.error(np.zeros(self.channels))[0]

    def error(self, logarithms: Floats) -> tuple[float, Floats]:
        """The sum, and its gradient."""
        scales = np.exp(logarithms)
        steps, step_gradient = _squared_norms(self._largest * scales, _WEIGHT_NORM, 1)
        weight_step, weight_gradient = steps.sum(), step_gradient.sum(axis=0)
        shares = self._variances / np.square(scales)
        of_weights = 4 * weight_step * shares.sum() / self._weight_levels**2
        weight_change = 4 * (weight_gradient * shares.sum() - 2 * weight_step * shares) / self._weight_levels**2
        input_step, input_gradient = _squared_norms(self._ranges / scales, _INPUT_NORM, 0)
        met = self._squares * np.square(scales)
        share = self._input_errors / self._input_levels**2
        of_input = share * input_step.sum() * met.sum()
        input_change = share * (2 * input_step.sum() * met - input_gradient * met.sum())
        return float(of_weights + of_input), weight_change + input_change


def find_input_factors(reader: Reader) -> NDArray[np.uint8] | None:
    """One over the scales of an input that has them to itself, by a multiplication of its own.

    Returns:
        (channels,) factors of the input; None where they would gain less than as many bits for the weights.

    Source: the freedom is that of cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight
    Equalization and Bias Correction", ICCV 2019), between a layer and its own input as in SmoothQuant (Xiao et al.,
    ICML 2023) and AWQ (Lin et al., MLSys 2024), which choose scales by powers of the largest values.
    """
    scales = _best_scales([reader])
    if scales is None:
        return None
    factors = np.exp(scales.min() - scales)
    factors = np.maximum(np.rint(LARGEST_FACTOR * factors), 1)
    gained = -_relative_error(-np.log(factors), [reader])[0]
    # A bit more takes the error of the weights to a quarter.
    costs = BITS_OF_FACTOR * factors.size / reader.weights * np.log(4)
    return factors.astype(np.uint8) if gained > costs else None


def find_group_factors(readers: Sequence[Reader]) -> Floats | None:
    """One over the scales of channels that several layers read, which the layers before them can absorb.

    The errors of the layers are added, each relative to what it was without scales.

    Args:
        readers: The layers.

    Returns:
        (channels,) factors in 0..1; None where no layer tells which ones are better.
    """
    scales = _best_scales(readers)
    return None if scales is None else np.exp(scales.min() - scales)


def _best_scales(readers: Sequence[Reader]) -> Floats | None:
    """(channels,) logarithms of the scales with least error, found by L-BFGS with norms in the place of maxima."""
    telling = [reader for reader in readers if reader.tells]
    if not telling:
        return None
    found = minimize(
        _relative_error,
        np.zeros(telling[0].channels),
        (telling,),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS},
    )
    result: Floats = found.x
    return result


def _relative_error(logarithms: Floats, readers: Sequence[Reader]) -> tuple[float, Floats]:
    """Logarithm of the mean of the errors, each relative to that without scales, and its gradient."""
    total, gradient = 0.0, np.zeros(len(logarithms))
    for reader in readers:
        error, change = reader.error(logarithms)
        share = 1 / (reader.unscaled_error * len(readers))
        total, gradient = total + share * error, gradient + share * change
    return float(np.log(total)), gradient / total


def _squared_norms(values: Floats, power: int, axis: int) -> tuple[Floats, Floats]:
    """Squares of the norms along an axis, and their derivatives by the logarithm of each value."""
    largest = values.max(axis=axis, keepdims=True)
    powers = (values / largest) ** power
    sums = powers.sum(axis=axis, keepdims=True)
    squares = np.square(largest) * sums ** (2 / power)
    return squares, 2 * squares * powers / sums


def _conditional_variances(covariance: torch.Tensor) -> Floats:
    """(channels,) variance of each channel, damped, given those that are rounded after it."""
    compensation = prepare_compensation(covariance[None].to(torch.float32))
    found = torch.empty_like(compensation.diagonal).scatter_(1, compensation.order, compensation.diagonal)
    values: Floats = found[0].double().numpy()
    return values
