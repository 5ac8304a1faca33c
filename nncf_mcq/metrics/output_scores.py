"""The distance of all outputs of a model: a score for each that suits it, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.detectors import single_form
from nncf_mcq.metrics.metrics import is_classifier
from nncf_mcq.metrics.output_kinds import are_embeddings
from nncf_mcq.metrics.scores import SCORES, Score, image_values
from nncf_mcq.model.outputs import ModelOutput
from nncf_mcq.model.samples import Arrays
from nncf_mcq.utils.json_values import JsonObject

ScoreChoice: TypeAlias = "Score | Mapping[str, Score | tuple[Score | None, float]] | None"
"""One score for every output; by name of an output its score, or its score (None for the default) and its weight."""

_FORM_SCORES: Final = {
    "objectness": "detection_divergence",
    "cells": "cell_divergence",
    "classes": "box_class_divergence",
    "classes_last": "box_row_divergence",
}

KIND_SCORES: Final[Mapping[OutputKind, str]] = {
    "classes": "softened_kl",
    "segmentation": "map_divergence",
    "mask": "bernoulli_divergence",
    "heat_maps": "squared_error",
    "landmarks": "squared_error",
    "embedding": "squared_error",
    "sequence": "class_divergence",
    "labels": "disagreement",
    "values": "squared_error",
}
"""The distance that suits an output whose kind a configuration gives."""


@dataclass(frozen=True)
class OutputScore:
    """How far one output of a model is from the float model's.

    Attributes:
        output: Name of the output.
        function: The distance.
        weight: Factor of it in the sum, at least 0.
    """

    output: str
    function: Score
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The name that a configuration has for the function, or its own."""
        known = next((name for name, function in SCORES.items() if function is self.function), None)
        return known or str(getattr(self.function, "__qualname__", type(self.function).__qualname__))


class OutputScores:
    """Weighted sum of the distances of all outputs; lower is better.

    Args:
        scores: One for each output, in the model's order.
    """

    def __init__(self, scores: Sequence[OutputScore]) -> None:
        self.scores = tuple(scores)

    def __call__(self, outputs: Arrays, reference: Arrays) -> float:
        """The sum.

        Args:
            outputs: (N, ...) for each output.
            reference: The float model's.
        """
        return sum(self.each(outputs, reference).values())

    def each(self, outputs: Arrays, reference: Arrays) -> dict[str, float]:
        """Name of each output that counts to its weighted distance.

        Args:
            outputs: As for the sum.
            reference: The float model's.
        """
        return {
            score.output: score.weight * score.function(*_aligned(found, expected))
            for score, found, expected in zip(self.scores, outputs, reference, strict=True)
            if score.weight > 0
        }

    def values(self, outputs: Arrays, reference: Arrays, samples: int) -> NDArray[np.float64]:
        """(N,) values of the samples, of which the sum of the distances is the mean.

        Args:
            outputs: (N, ...) for each output; or, of a model that folds others into its batch, a multiple of N.
            reference: The float model's.
            samples: N.
        """
        found = [
            score.weight * image_values(score.function, *_aligned(values, expected))
            for score, values, expected in zip(self.scores, outputs, reference, strict=True)
            if score.weight > 0
        ]
        total: NDArray[np.float64] = np.sum([_of_samples(values, samples) for values in found], axis=0)
        return total

    def to_dict(self) -> JsonObject:
        """JSON values: name of each output to its score and weight."""
        return {score.output: {"type": score.name, "weight": score.weight} for score in self.scores}


def choose_scores(outputs: Sequence[ModelOutput], reference: Arrays, choice: ScoreChoice = None) -> OutputScores:
    """The scores that were asked for, and defaults for all other outputs.

    Args:
        outputs: What the graph tells of the outputs.
        reference: (N, ...) for each output, of the float model.
        choice: What was asked for.

    Raises:
        ConfigError: The choice names an output that the model does not have, or no output counts.
    """
    names = [output.name for output in outputs]
    if isinstance(choice, Mapping):
        unknown = next((name for name in choice if name not in names), None)
        if unknown is not None:
            raise ConfigError("score", unknown, f"an output of the model: {', '.join(names)}")
    found = []
    for output, values in zip(outputs, reference, strict=True):
        asked = choice.get(output.name) if isinstance(choice, Mapping) else choice
        function, weight = asked if isinstance(asked, tuple) else (asked, 1.0)
        found.append(OutputScore(output.name, function or default_score(output, values), weight))
    if not any(score.weight > 0 for score in found):
        raise ConfigError("score", {score.output: score.weight for score in found}, "an output of positive weight")
    return OutputScores(found)


def default_score(output: ModelOutput, reference: NDArray[np.float32]) -> Score:
    """The distance that suits an output, by what the graph and the float model's values tell.

    Whole numbers: the share that differ. Probabilities of a softmax: their KL divergence. Boxes with classes, with or
    without an objectness: `detection_divergence`, `cell_divergence`, `box_class_divergence` or `box_row_divergence`.
    Independent probabilities: the divergence of each. Classes (N, classes): the softened KL divergence of the logits.
    Classes of each pixel: the KL divergence of the logits. Anything else, embeddings (rows of length 1) among them: the
    relative squared error.

    Args:
        output: What the graph tells of it.
        reference: (N, ...) of the float model.
    """
    name = "squared_error"
    if output.is_integer:
        name = "disagreement"
    elif output.activation == "softmax" and output.axis == 1 and reference.ndim > 2:
        name = "distribution_divergence"
    elif output.activation == "softmax" and output.axis == reference.ndim - 1 and reference.ndim > 2:
        name = "class_divergence"
    elif (form := single_form(output, reference)) is not None:
        name = _FORM_SCORES[form]
    elif output.activation == "sigmoid":
        name = "bernoulli_divergence"
    elif is_classifier(reference) and not are_embeddings(reference):
        name = "softened_kl"
    elif output.is_map and output.activation == "none":
        name = "map_divergence"
    return SCORES[name]


def _of_samples(values: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """One value for each sample: an output may have several rows of it, e.g. of a model for a batch of 4."""
    if len(values) % samples:
        return np.full(samples, values.mean())
    means: NDArray[np.float64] = values.reshape(samples, -1).mean(axis=1)
    return means


def _aligned(
    found: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Outputs of one shape: where it depends on the data, e.g. on the number of boxes kept, the smaller gets zeros."""
    if found.shape == expected.shape or found.ndim != expected.ndim:
        return found, expected
    shape = np.maximum(found.shape, expected.shape)

    def padded(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.pad(values, [(0, int(size - own)) for size, own in zip(shape, values.shape, strict=True)])

    return padded(found), padded(expected)
