"""The distances that a search minimizes, as PyTorch functions that can be differentiated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from nncf_mcq.errors import QuantizationError
from nncf_mcq.metrics.cell_rows import LARGEST_LOGARITHM
from nncf_mcq.metrics.detection import BOX_VALUES
from nncf_mcq.metrics.metrics import are_probabilities
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.metrics.scores import TEMPERATURE

_LEAST_PROBABILITY: Final = 1e-6
_COORDINATES: Final = BOX_VALUES - 1

Loss = Callable[[Tensor, Tensor], Tensor]
"""From one output (N, ...) and the float model's to the mean over the images."""


def divergence(scores: OutputScores, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """The weighted sum of the distances of all outputs, as in `OutputScores`.

    Distances of the caller's own, which PyTorch does not know, are taken for the relative squared error, and outputs of
    whole numbers are left out.

    Args:
        scores: Distance and weight of each output.
        outputs: (N, ...) for each output.
        reference: The float model's.

    Raises:
        QuantizationError: No output is left.
    """
    parts = [
        score.weight * LOSSES.get(score.name, squared_error)(found, expected)
        for score, found, expected in zip(scores.scores, outputs, reference, strict=True)
        if score.weight > 0 and found.is_floating_point()
    ]
    if not parts:
        raise QuantizationError("no output of the model is a floating-point number: there is nothing to tune for")
    return torch.stack(parts).sum()


def kl(outputs: Tensor, reference: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence of the classes of (N, classes) logits, or probabilities that a softmax yields.

    Args:
        outputs: The outputs.
        reference: The float model's.
        temperature: That the logits of both are divided by; the divergence is multiplied by its square.
    """
    if are_probabilities(reference.detach().cpu().numpy()):
        outputs, reference = _logs(outputs), _logs(reference)
    return temperature**2 * _divergence(outputs / temperature, reference / temperature, len(outputs))


def distribution_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """KL divergence of distributions over the second dimension (N, classes, ...), averaged over all others."""
    return _divergence(_logs(outputs), _logs(reference), outputs.numel() // outputs.shape[1])


def map_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """KL divergence of the classes of each pixel (N, classes, ...), averaged over the pixels."""
    return _divergence(outputs, reference, outputs.numel() // outputs.shape[1])


def bernoulli_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """KL divergence of independent probabilities, summed over the second dimension and averaged over all others."""
    values = _bernoulli(outputs, reference)
    return (values.sum(dim=1) if values.ndim > 1 else values).mean()


def logit_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """`bernoulli_divergence` of the probabilities that a sigmoid makes of both."""
    return bernoulli_divergence(outputs.sigmoid(), reference.sigmoid())


def squared_error(outputs: Tensor, reference: Tensor) -> Tensor:
    """Sum of the squared differences relative to that of the squared float outputs."""
    return (outputs - reference).square().sum() / reference.square().sum().clamp_min(1e-20)


def detection_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """Distance of boxes with an objectness, (N, boxes, 5 + classes); see `nncf_mcq.metrics.scores`."""
    classes = _bernoulli(outputs[..., BOX_VALUES:], reference[..., BOX_VALUES:]).sum(dim=-1)
    apart = 1 - _overlap(outputs[..., :_COORDINATES], reference[..., :_COORDINATES])
    objectness = reference[..., _COORDINATES]
    values = _bernoulli(outputs[..., _COORDINATES], objectness) + objectness * (classes + apart)
    return values.sum(dim=-1).mean()


def cell_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """`detection_divergence` of boxes with the logarithms of their sides; see `nncf_mcq.metrics.scores`."""
    return detection_divergence(_with_sides(outputs), _with_sides(reference))


def box_class_divergence(outputs: Tensor, reference: Tensor) -> Tensor:
    """Distance of boxes without an objectness, (N, 4 + classes, boxes); see `nncf_mcq.metrics.scores`."""
    outputs, reference = outputs.transpose(1, 2), reference.transpose(1, 2)
    classes = _bernoulli(outputs[..., _COORDINATES:], reference[..., _COORDINATES:]).sum(dim=-1)
    apart = 1 - _overlap(outputs[..., :_COORDINATES], reference[..., :_COORDINATES])
    confidence = reference[..., _COORDINATES:].amax(dim=-1)
    return (classes + confidence * apart).sum(dim=-1).mean()


LOSSES: Final[dict[str, Loss]] = {
    "kl": kl,
    "softened_kl": functools.partial(kl, temperature=TEMPERATURE),
    "distribution_divergence": distribution_divergence,
    "map_divergence": map_divergence,
    "bernoulli_divergence": bernoulli_divergence,
    "logit_divergence": logit_divergence,
    "squared_error": squared_error,
    "detection_divergence": detection_divergence,
    "cell_divergence": cell_divergence,
    "box_class_divergence": box_class_divergence,
}
"""Name of a distance to its function."""


def _with_sides(outputs: Tensor) -> Tensor:
    sides = outputs[..., 2:_COORDINATES].clamp_max(LARGEST_LOGARITHM).exp()
    return torch.cat([outputs[..., :2], sides, outputs[..., _COORDINATES:]], dim=-1)


def _divergence(outputs: Tensor, reference: Tensor, count: int) -> Tensor:
    found, expected = (functional.log_softmax(values, dim=1) for values in (outputs, reference))
    return functional.kl_div(found, expected, reduction="sum", log_target=True) / count


def _logs(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(_LEAST_PROBABILITY).log()


def _bernoulli(found: Tensor, expected: Tensor) -> Tensor:
    """KL(expected || found) of probabilities of yes, element by element."""
    yes, wanted = (values.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY) for values in (found, expected))
    return wanted * (wanted / yes).log() + (1 - wanted) * ((1 - wanted) / (1 - yes)).log()


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) of centre x, y, width, height, pair by pair."""
    low, high = ([boxes[..., :2] + sign * boxes[..., 2:] / 2 for boxes in (first, second)] for sign in (-1, 1))
    common = (torch.minimum(*high) - torch.maximum(*low)).clamp_min(0).prod(dim=-1)
    union = first[..., 2:].prod(dim=-1) + second[..., 2:].prod(dim=-1) - common
    return common / union.clamp_min(1e-12)
