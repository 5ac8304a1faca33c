"""A layer's weights, moved to make good for what the layers before it changed, as far as other images confirm it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nncf_mcq.weights.input_shift import InputShift

DAMPINGS = (0.03, 0.3, 3.0)
"""What is tried: added to the diagonal of the inputs' covariance, relative to its mean."""


@dataclass(frozen=True)
class Regression:
    """How far weights are moved.

    Attributes:
        damping: Added to the diagonal of the inputs' covariance, relative to its mean.
        strength: Share, 0 to 1, of the regression that is applied.
    """

    damping: float
    strength: float


def regressed_weights(weights: torch.Tensor, shift: InputShift, regression: Regression) -> torch.Tensor:
    """The weights that bring the output closest to the float output, given the inputs of the quantized network.

    Where something is added to the output, they make good for its error, too, as far as the inputs tell of it.

    Args:
        weights: (groups, rows, columns) float weights W.
        shift: Moments of both networks' inputs x and x', and of the residuals r and r' that are added to the output.
        regression: How far they are moved.

    Returns:
        (groups, rows, columns) `W + strength (W Cov(x - x', x') + Cov(r - r', x')) (Cov(x') + damping)^-1`.
    """
    if regression.strength == 0:
        return weights
    step = _full_step(_error_covariance(weights.to(torch.float64), shift), shift, regression.damping)
    return weights + regression.strength * step.to(torch.float32)


def find_regression(weights: torch.Tensor, halves: Sequence[InputShift]) -> Regression:
    """How far weights are best moved: what is learned from one half of the images is tried on the other, both ways.

    The first layers see many positions of each image, and all of the regression holds; the last ones of a classifier
    see so few that most of it is noise.

    Args:
        weights: (groups, rows, columns) float weights.
        halves: The shift from two halves of the images, as sampled; without them weights stay where they are.

    Returns:
        The damping, and the strength with it, that leave the least error in the output for the other half. It is the
        best for half as many images as there are, hence a cautious one.
    """
    shrunk = [half.shrunk() for half in halves]
    learned = [_error_covariance(weights, half) for half in shrunk]
    wanted = [_error_covariance(weights, half) for half in halves]

    def best_with(damping: float) -> tuple[float, Regression]:
        """The change of the error by the best strength, and that."""
        gain = energy = 0.0
        for one, other in ((0, 1), (1, 0)) if halves else ():
            step = _full_step(learned[one], shrunk[one], damping)
            gain += float((step * wanted[other]).sum())
            energy += float((step * torch.bmm(step, halves[other].covariance)).sum())
        strength = min(max(gain, 0.0) / max(energy, 1e-30), 1.0)
        return strength * (strength * energy - 2 * gain), Regression(damping, strength)

    least, best = best_with(DAMPINGS[0])
    for damping in DAMPINGS[1:]:
        change, found = best_with(damping)
        if change > least:
            # The error has one minimum: still more damping is no better.
            break
        least, best = change, found
    return best


def _error_covariance(weights: torch.Tensor, shift: InputShift) -> torch.Tensor:
    """(groups, rows, columns) covariance of what the output lacks with the inputs, in the precision of the weights."""
    found = torch.bmm(weights, shift.cross.to(weights.dtype))
    return found if shift.residual is None else found + shift.residual.cross


def _full_step(wanted: torch.Tensor, shift: InputShift, damping: float) -> torch.Tensor:
    """(groups, rows, columns) `wanted (Cov(x') + damping)^-1`."""
    variance = shift.quantized.variance
    level = damping * variance.mean(dim=1, keepdim=True).clamp_min(1e-12)
    damped = shift.covariance.to(wanted.dtype) + torch.diag_embed(level.expand_as(variance))
    factor, failed = torch.linalg.cholesky_ex(damped)
    if bool(failed.any()):
        # Not positive definite only by the rounding of float32: there is nothing to regress on.
        return torch.zeros_like(wanted)
    return torch.cholesky_solve(wanted.transpose(1, 2), factor).transpose(1, 2)
