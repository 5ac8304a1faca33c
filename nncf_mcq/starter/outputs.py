"""Recognizes what a model is by its outputs, and what follows from that for a first configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import openvino as ov

from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.data.splits import ImageDataset
from nncf_mcq.metrics.recognition import RecognizedOutputs, outputs_of, recognize_outputs
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.nodes import constant_value, operations_by_name
from nncf_mcq.model.samples import Samples

LOOKED_AT: Final = 4
"""Images that the float model runs on."""

_FEWEST_BINS: Final = 8
_IN_WORDS: Final[Mapping[OutputKind, str]] = {
    "classes": "classes",
    "segmentation": "classes of each pixel, a segmentation",
    "mask": "a probability for each pixel, a mask",
    "heat_maps": "heat maps of points",
    "landmarks": "coordinates of points",
    "embedding": "an embedding",
    "sequence": "classes of each step, as of text recognition",
    "labels": "whole numbers",
    "values": "not recognized",
}


def recognize_on(model: ov.Model, images: ImageDataset) -> RecognizedOutputs:
    """Runs a model on a few images.

    Args:
        model: The float model, of one input.
        images: Its inputs, without the batch.
    """
    first = [images[index][0] for index in range(min(len(images), LOOKED_AT))]
    return recognize_on_samples(model, Samples(np.stack(first)))


def recognize_on_samples(model: ov.Model, samples: Samples) -> RecognizedOutputs:
    """Runs a model on samples of all of its inputs.

    Args:
        model: The float model.
        samples: A few.
    """
    return recognize_outputs(model, outputs_of(compile_model(model, 1), samples))


def may_be_detector(recognized: RecognizedOutputs) -> bool:
    """Whether a model may be a detector that does not show it on these inputs, e.g. since it finds nothing in them.

    Args:
        recognized: By `recognize_on`.
    """
    return recognized.detector is not None or any(
        output.kind in ("values", "labels") for output in recognized.kinds.values()
    )


def output_notes(recognized: RecognizedOutputs, *, has_labels: bool) -> Iterator[str]:
    """What the outputs were taken for, a line each.

    Args:
        recognized: By `recognize_on`.
        has_labels: Whether the labels fit the outputs, which then are classes for certain.
    """
    if recognized.detector is not None:
        yield f"output {recognized.boxes_name}: {recognized.detector.family}; boxes are compared after a suppression"
    for name, score in score_section(recognized).items():
        yield f"score: {score} for {name}, whose values no sigmoid has made probabilities"
    for number, output in recognized.kinds.items():
        name = recognized.outputs[number].name
        line = f"output {name}: {_IN_WORDS[output.kind]}"
        if output.kind == "values":
            line += (
                f', compared by its signal-to-noise ratio; "outputs": {{"{name}": KIND}} says what it is, KIND one of '
                f"{', '.join(kind for kind in _IN_WORDS if kind != 'values')}"
            )
        elif output.kind == "classes" and not has_labels:
            line += f'; if it is none: "outputs": {{"{name}": "embedding"}} or "landmarks" says what it is'
        yield line


def score_section(recognized: RecognizedOutputs) -> dict[str, str]:
    """Name of each output that has another distance than its values alone suggest, to that distance.

    Args:
        recognized: By `recognize_on`.
    """
    detector = recognized.detector
    if detector is None or detector.logits is None:
        return {}
    return {recognized.outputs[detector.logits].name: "logit_divergence"}


def output_keys(recognized: RecognizedOutputs) -> dict[str, Any]:
    """The keys of a configuration that say what outputs are, where their shapes alone suggest something else.

    Args:
        recognized: By `recognize_on`.
    """
    kinds = {
        recognized.outputs[number].name: kind.kind
        for number, kind in recognized.kinds.items()
        if (kind.kind == "landmarks" and kind.axis == 1)
        or (kind.kind == "sequence" and recognized.outputs[number].activation != "softmax")
    }
    keys = {"score": score_section(recognized), "outputs": kinds}
    return {key: value for key, value in keys.items() if value}


def distribution_layers(layers: QuantizableModel) -> list[QuantizableLayer]:
    """The convolutions that turn distributions over distances into distances: their weights are 0, 1, 2 and so on.

    Detectors from YOLOv8 on have one, and tools that quantize them leave it in floating point.

    Args:
        layers: Of the model.

    Source: Li et al., "Generalized Focal Loss", NeurIPS 2020: the distribution focal loss (DFL).
    """
    operations = operations_by_name(layers.model)
    found = []
    for layer in layers.layers:
        if layer.output_channels != 1 or layer.weights < _FEWEST_BINS:
            continue
        weights = constant_value(operations[layer.name], layer.weight_port)
        if (weights.reshape(-1) == np.arange(layer.weights)).all():
            found.append(layer)
    return found
