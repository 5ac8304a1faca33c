"""Outputs of a network as a scalar to differentiate: their divergence, or the likelihood of a drawn label."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nncf_mcq.errors import QuantizationError
from nncf_mcq.metrics.metrics import are_probabilities

_SMALLEST_PROBABILITY = 1e-30


def log_likelihood(outputs: Sequence[Tensor], generator: np.random.Generator) -> Tensor:
    """Scalar whose squared gradient is, in the mean over the draws, the Gauss-Newton diagonal of a divergence.

    For an output (N, classes), -log p of labels that are drawn from their own distributions. For any other, its sum
    with random signs over the root of their number; where there are several outputs, relative to its own energy, as
    the score of several outputs counts it.

    Args:
        outputs: The outputs for one sample.
        generator: Draws labels and signs.
    """
    return torch.stack([_drawn(output, generator, len(outputs) > 1) for output in _differentiable(outputs)]).sum()


def divergence(outputs: Sequence[Tensor]) -> Tensor:
    """Sum of the divergences from the outputs to themselves: 0, as is its gradient, but not its curvature.

    Args:
        outputs: The outputs for one image.
    """
    return torch.stack([_distance(output, len(outputs) > 1) for output in _differentiable(outputs)]).sum()


def sample_label(logits: Tensor, generator: np.random.Generator) -> int:
    """Draws a class from the softmax of (classes,) logits."""
    # In float64: `choice` checks that the sum is 1 more closely than float32 can be.
    return int(generator.choice(len(logits), p=logits.double().softmax(dim=0).numpy()))


def _differentiable(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs that a change of the weights moves smoothly: whole numbers, e.g. the class itself, have no gradient."""
    found = [output for output in outputs if output.is_floating_point()]
    if not found:
        raise QuantizationError("no output of the model is a floating-point number: its weights have no gradient")
    return found


def _drawn(output: Tensor, generator: np.random.Generator, relative: bool) -> Tensor:
    logits = _logits(output)
    if logits is not None:
        labels = [sample_label(row, generator) for row in logits.detach()]
        # The sum: the gradients of independent draws have the mean 0, so that those of their sum square to the sum.
        loss: Tensor = F.cross_entropy(logits, torch.tensor(labels), reduction="sum")
        return loss
    signs = torch.from_numpy(generator.choice([-1.0, 1.0], size=tuple(output.shape)))
    scale = math.sqrt(2.0 / _energy(output)) if relative else 1.0 / math.sqrt(output.numel())
    return (output * signs.to(output)).sum() * scale


def _distance(output: Tensor, relative: bool) -> Tensor:
    logits = _logits(output)
    if logits is not None:
        reference = logits.detach().log_softmax(dim=1)
        return F.kl_div(logits.log_softmax(dim=1), reference, reduction="batchmean", log_target=True)
    squares = (output - output.detach()).square()
    return squares.sum() / _energy(output) if relative else 0.5 * squares.mean()


def _logits(output: Tensor) -> Tensor | None:
    """Logits (N, classes) of a classifier, with or without a softmax at its end; None for other outputs."""
    if output.ndim != 2 or output.shape[1] < 2:
        return None
    return output.clamp_min(_SMALLEST_PROBABILITY).log() if are_probabilities(output.detach().numpy()) else output


def _energy(output: Tensor) -> float:
    return max(float(output.detach().square().sum()), 1e-20)
