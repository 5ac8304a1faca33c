"""Bias and gain: what keeps the mean and the variance of a layer's output after its weights are rounded."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nncf_mcq.calibration.statistics import LayerStatistics


def bias_shift(weights: torch.Tensor, quantized: torch.Tensor, statistics: LayerStatistics) -> torch.Tensor:
    """Shift of the bias that keeps the mean of the output.

    Args:
        weights: (groups, rows, columns) float weights.
        quantized: The weights that replace them.
        statistics: Moments of the layer's input.

    Returns:
        (groups, rows): `(W - Q) E[x]`.

    Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019 (their
    empirical variant).
    """
    return torch.einsum("grc,gc->gr", weights - quantized, statistics.mean)


@dataclass(frozen=True)
class OutputMoments:
    """Second moments of a layer's float output `w x` and of the error `(w - q) x` that rounding leaves in it.

    All that gains and errors need: once they are known, a scale changes without another product with the covariance.

    Attributes:
        variance: (groups, rows) of the float output.
        cross: (candidates, groups, rows) covariance of the float output and the error.
        error: (candidates, groups, rows) variance of the error.
    """

    variance: torch.Tensor
    cross: torch.Tensor
    error: torch.Tensor

    @classmethod
    def measure(cls, weights: torch.Tensor, quantized: torch.Tensor, statistics: LayerStatistics) -> OutputMoments:
        """Those of quantized weights.

        Args:
            weights: (groups, rows, columns).
            quantized: (candidates, groups, rows, columns).
            statistics: Moments of the layer's input.
        """
        difference = weights - quantized
        product = apply_covariance(difference, statistics)
        error = (product * difference).sum(dim=3).clamp_min_(0)
        return cls(output_variance(weights, statistics), (product * weights).sum(dim=3), error)

    @property
    def quantized(self) -> torch.Tensor:
        """(candidates, groups, rows) variance of the quantized output."""
        return (self.variance - 2 * self.cross + self.error).clamp_min_(0)

    def scaled(self, gain: torch.Tensor) -> OutputMoments:
        """Those of the quantized weights times a gain (candidates, groups, rows)."""
        more = gain - 1
        error = self.error - 2 * more * (self.cross - self.error) + more.square() * self.quantized
        return OutputMoments(self.variance, self.cross - more * (self.variance - self.cross), error.clamp_min_(0))


def regression_gain(moments: OutputMoments, per_channel: bool) -> torch.Tensor:
    """The factor on each quantized row that brings its output closest to the float output.

    The least-squares solution `w C q / q C q` with the input covariance C; the dequantization scale absorbs it.

    Args:
        moments: Of the outputs.
        per_channel: One factor per row rather than one per candidate.

    Returns:
        (candidates, groups, rows); 1 where the quantized row has no output, never negative.
    """
    # Written so that two nearly equal numbers are not divided: gains of 8-bit weights are 1 to five digits.
    numerator, denominator = moments.cross - moments.error, moments.quantized
    if not per_channel:
        numerator = numerator.sum(dim=(1, 2), keepdim=True).expand_as(numerator)
        denominator = denominator.sum(dim=(1, 2), keepdim=True).expand_as(denominator)
    usable = (denominator > 1e-20) & (numerator + denominator > 0)
    return torch.where(usable, 1 + numerator / denominator.clamp_min(1e-20), torch.ones_like(numerator))


def energy_gain(moments: OutputMoments, variance: torch.Tensor, per_channel: bool) -> torch.Tensor:
    """The factor on each quantized row that gives its output the variance of the float output.

    The regression gain leaves the least error of a layer alone, but rounding noise then always costs variance, and the
    losses of successive layers multiply.

    Args:
        moments: Of the outputs.
        variance: (groups, rows) variance that the outputs should have.
        per_channel: One factor per row rather than one per candidate.

    Returns:
        (candidates, groups, rows), within 0.5 to 2; 1 where one of the outputs does not vary.

    Source: Finkelstein, Almog and Grobman, "Fighting Quantization Bias with Bias", 2019, and the variance correction in
    Banner, Nahshan and Soudry, "Post Training 4-bit Quantization of Convolutional Networks for Rapid-Deployment",
    NeurIPS 2019, there of the weights, here of the outputs.
    """
    found = moments.quantized
    wanted = variance.expand_as(found)
    if not per_channel:
        found = found.sum(dim=(1, 2), keepdim=True).expand_as(found)
        wanted = wanted.sum(dim=(1, 2), keepdim=True).expand_as(wanted)
    usable = (found > 1e-20) & (wanted > 1e-20)
    return torch.where(usable, (wanted / found.clamp_min(1e-20)).sqrt().clamp(0.5, 2.0), torch.ones_like(found))


def output_variance(weights: torch.Tensor, statistics: LayerStatistics) -> torch.Tensor:
    """(groups, rows) variance of each output channel of the weights (groups, rows, columns)."""
    return output_error(torch.zeros_like(weights), weights[None], statistics)[0]


def output_error(weights: torch.Tensor, quantized: torch.Tensor, statistics: LayerStatistics) -> torch.Tensor:
    """Variance of the difference of each output channel that rounding causes.

    Args:
        weights: (groups, rows, columns).
        quantized: (candidates, groups, rows, columns).
        statistics: Moments of the layer's input. Its covariance counts, not its second moment: the bias correction
            takes the mean off.

    Returns:
        (candidates, groups, rows).
    """
    difference = quantized - weights
    return (apply_covariance(difference, statistics) * difference).sum(dim=3).clamp_min_(0)


def apply_covariance(matrices: torch.Tensor, statistics: LayerStatistics) -> torch.Tensor:
    """(candidates, groups, rows, columns) times the covariance, or its diagonal where only that is known."""
    if statistics.covariance is None:
        return matrices * statistics.variance[None, :, None, :]
    return multiply(matrices, statistics.covariance)


def multiply(matrices: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """(candidates, groups, rows, columns) times the moments (groups, columns, columns)."""
    candidates, groups, rows, columns = matrices.shape
    flat = matrices.permute(1, 0, 2, 3).reshape(groups, candidates * rows, columns)
    product = torch.bmm(flat, moments)
    return product.reshape(groups, candidates, rows, columns).permute(1, 0, 2, 3)
