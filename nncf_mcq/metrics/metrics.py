"""Scores of model outputs: against labels, and against the outputs of the FP32 model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.named_functions import NamedFunctions

Outputs = npt.NDArray[np.floating]
Targets = npt.NDArray[np.integer]
Metric = Callable[[Outputs, Any], float]
"""From outputs (N, ...) and N targets, as an array where they are class indices, to a score; higher is better."""


@dataclass(frozen=True)
class SampleMetric:
    """A metric that needs little of each sample's output, so that nobody has to hold all outputs at once.

    Args:
        summarize: From the output of one sample (1, ...) and its target to what the metric needs of them.
        finish: From what it needs of each sample to the score.
    """

    summarize: Callable[[Outputs, Any], Any]
    finish: Callable[[list[Any]], float]

    def __call__(self, outputs: Outputs, targets: Sequence[Any]) -> float:
        """The score of outputs (N, ...) and N targets."""
        return self.finish([self.summarize(outputs[index : index + 1], target) for index, target in enumerate(targets)])


class ImageMetric:
    """A metric that is the mean of one value for each image, so that its error can be told.

    Args:
        values: From outputs (N, ...) and N targets to the values (N,).
    """

    def __init__(self, values: Callable[[Outputs, Any], npt.NDArray[np.generic]]) -> None:
        self.values = values
        functools.update_wrapper(self, values)

    def __call__(self, outputs: Outputs, targets: Any) -> float:
        """The mean over the images."""
        return float(self.values(outputs, targets).mean())


_SUM_TOLERANCE = 1e-3
"""Rounding leaves the sum of float32 or float16 probabilities this near to 1."""

_SMALLEST_PROBABILITY = 1e-30

METRICS: NamedFunctions[Metric] = NamedFunctions("metric")
"""The registered metrics by the name that the configuration uses."""

register_metric = METRICS.register
get_metric = METRICS.find


def stack_targets(targets: Sequence[Any]) -> Any:
    """The targets of many samples as a metric takes them: class indices and other numbers of one shape as an array.

    Others, e.g. the objects in each image, or boxes of which each image has its own number, stay a list.
    """
    try:
        arrays = [np.asarray(target) for target in targets]
    except ValueError:
        # A list of lists of several lengths.
        return list(targets)
    is_uniform = len({array.shape for array in arrays}) == 1 and all(array.dtype.kind in "biuf" for array in arrays)
    return np.stack(arrays) if is_uniform else list(targets)


def is_classifier(outputs: npt.NDArray[np.generic]) -> bool:
    """Whether the outputs are those of a classifier, (N, classes)."""
    return outputs.ndim == 2 and outputs.shape[1] > 1


def label_free_metrics(outputs: Outputs, reference: Outputs) -> dict[str, float]:
    """Agreement and divergence of classifier outputs (N, classes) with the float outputs; nothing for other outputs.

    Args:
        outputs: Of any model.
        reference: The float model's.

    Returns:
        `agreement`, the share of equal top-1 classes, and `kl`, the mean KL divergence in nats.

    Raises:
        ValueError: The shapes do not fit, or the reference is not finite.
    """
    if not is_classifier(reference):
        return {}
    return {"agreement": agreement(outputs, reference), "kl": kl_divergence(outputs, reference)}


@register_metric("top1")
@ImageMetric
def top1(outputs: Outputs, targets: Targets) -> npt.NDArray[np.bool_]:
    """Whether the largest output of an image is the target's; the metric is their share, 0 to 1.

    Args:
        outputs: (N, classes). Equal outputs rank by index; an image with a NaN counts as wrong.
        targets: (N,), class indices.

    Raises:
        ConfigError: A target is not one of the classes.
        ValueError: The shapes do not fit.
    """
    return _top(outputs, targets, 1)


@register_metric("top5")
@ImageMetric
def top5(outputs: Outputs, targets: Targets) -> npt.NDArray[np.bool_]:
    """Whether the target is among the five largest outputs of an image; otherwise as `top1`."""
    return _top(outputs, targets, 5)


def agreement(outputs: Outputs, reference: Outputs) -> float:
    """Share of images, 0 to 1, with the same largest output in both: the mean of `agreements`."""
    return float(agreements(outputs, reference).mean())


def agreements(outputs: Outputs, reference: Outputs) -> npt.NDArray[np.bool_]:
    """Whether an image has the same largest output in both.

    Args:
        outputs: (N, classes). Equal outputs rank by index; an image with a NaN counts as different.
        reference: (N, classes).

    Returns:
        (N,).

    Raises:
        ValueError: The shapes do not fit.
    """
    _check_pair(outputs, reference)
    is_valid = ~(np.isnan(outputs).any(axis=1) | np.isnan(reference).any(axis=1))
    is_equal: npt.NDArray[np.bool_] = (outputs.argmax(axis=1) == reference.argmax(axis=1)) & is_valid
    return is_equal


def are_probabilities(outputs: Outputs) -> bool:
    """Tells outputs (N, classes) of a softmax from logits: each row is a distribution."""
    if outputs.ndim != 2 or not np.isfinite(outputs).all() or (outputs < 0).any():
        return False
    return bool((np.abs(outputs.sum(axis=1, dtype=np.float64) - 1) < _SUM_TOLERANCE).all())


def to_logits(probabilities: Outputs) -> Outputs:
    """Logits whose softmax the probabilities are: their logarithms, finite also where one has underflowed to 0."""
    logarithms: Outputs = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST_PROBABILITY))
    return logarithms


def kl_divergence(outputs: Outputs, reference: Outputs) -> float:
    """Mean of `kl_divergences`: at least 0, infinite where an output is NaN or positive infinity.

    Args:
        outputs: Logits (N, classes), or the probabilities that a network with a softmax at its end yields.
        reference: The same of the float model, finite.

    Raises:
        ValueError: The shapes do not fit, or the reference is not finite.
    """
    return float(kl_divergences(outputs, reference).mean())


def kl_divergences(outputs: Outputs, reference: Outputs) -> npt.NDArray[np.float64]:
    """KL divergence of the distributions over the classes of each image, in nats, computed in float64.

    Args:
        outputs: Logits (N, classes), or the probabilities that a network with a softmax at its end yields.
        reference: The same of the float model, finite.

    Returns:
        (N,) at least 0; 0 where the distributions are equal; infinite for images with an output that is NaN or positive
        infinity.

    Raises:
        ValueError: The shapes do not fit, or the reference is not finite.
    """
    _check_pair(outputs, reference)
    if not np.isfinite(reference).all():
        raise ValueError("the reference outputs are not finite")
    is_valid = np.all(outputs < np.inf, axis=1)
    if not is_valid.all():
        outputs = np.where(is_valid[:, None], outputs, reference)
    if are_probabilities(reference):
        outputs, reference = to_logits(outputs), to_logits(reference)
    reference_logarithms = log_softmax(reference.astype(np.float64), axis=1)
    logarithms = log_softmax(outputs.astype(np.float64), axis=1)
    probabilities = np.exp(reference_logarithms)
    # Where the reference probability underflows to 0, the term is 0, also against an infinite logarithm.
    differences = np.where(probabilities > 0, reference_logarithms - logarithms, 0.0)
    # Rounding may leave the sum a little below the true minimum of 0.
    return np.where(is_valid, np.maximum((probabilities * differences).sum(axis=1), 0.0), np.inf)


def _top(outputs: Outputs, targets: Targets, count: int) -> npt.NDArray[np.bool_]:
    _check_outputs(outputs)
    if targets.shape != outputs.shape[:1]:
        raise ValueError(f"targets of shape {targets.shape} for outputs of shape {outputs.shape}")
    classes = outputs.shape[1]
    allowed = f"class indices 0 to {classes - 1}"
    if targets.dtype.kind not in "iuf":
        raise ConfigError("dataset", f"targets of type {targets.dtype}", allowed)
    # What is not a number is in no range; 3.0 is a class index, 2.5 is none.
    is_index = (targets >= 0) & (targets < classes) & (targets == np.floor(targets))
    if not is_index.all():
        raise ConfigError("dataset", f"target {targets[~is_index][0]:g}", allowed)
    ranked = np.argsort(-outputs, axis=1, kind="stable")[:, :count]
    is_right: npt.NDArray[np.bool_] = (ranked == targets[:, None]).any(axis=1) & ~np.isnan(outputs).any(axis=1)
    return is_right


def _check_outputs(outputs: Outputs) -> None:
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise ValueError(f"outputs of shape {outputs.shape}, needed: (N, classes), neither of them 0")


def _check_pair(outputs: Outputs, reference: Outputs) -> None:
    _check_outputs(outputs)
    if outputs.shape != reference.shape:
        raise ValueError(f"outputs of shape {outputs.shape} but a reference of shape {reference.shape}")
