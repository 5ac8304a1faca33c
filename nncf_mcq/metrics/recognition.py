"""What the outputs of a model are, by its graph and by what it gives for some images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import openvino as ov

from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.closeness import CLOSENESS, BoxCloseness, Closeness
from nncf_mcq.metrics.detector import Detector
from nncf_mcq.metrics.detectors import find_detector
from nncf_mcq.metrics.output_kinds import RecognizedOutput, alike, given, image_sizes, recognize
from nncf_mcq.model.outputs import ModelOutput, describe_outputs
from nncf_mcq.model.samples import Arrays, Samples, input_shapes

RECOGNIZED_ON: Final = 8
"""Images that outputs are recognized by."""


@dataclass(frozen=True)
class RecognizedOutputs:
    """What the outputs of a model are.

    Attributes:
        outputs: What its graph tells of each.
        detector: Those that hold boxes, where it is a detector.
        kinds: Number of each other output to its kind.
    """

    outputs: Sequence[ModelOutput]
    detector: Detector | None
    kinds: Mapping[int, RecognizedOutput]

    def descriptions(self) -> dict[str, str]:
        """Name of each output that was recognized to what it is; `values` are left out."""
        found = {
            self.outputs[number].name: output.kind.replace("_", " ")
            for number, output in self.kinds.items()
            if output.kind != "values"
        }
        return found if self.detector is None else {self.boxes_name: self.detector.family, **found}

    def closeness(self) -> list[Closeness]:
        """Measures of how close two models' outputs are: of the boxes of a detector, and of each recognized output."""
        boxes = [] if self.detector is None else [BoxCloseness(self.detector)]
        others = [CLOSENESS[kind.kind](number, kind) for number, kind in self.kinds.items() if kind.kind in CLOSENESS]
        return [*boxes, *others]

    @property
    def boxes_name(self) -> str:
        """The outputs of the detector, by name."""
        return "" if self.detector is None else ", ".join(self.outputs[number].name for number in self.detector.outputs)


def outputs_of(compiled: ov.CompiledModel, samples: Samples) -> list[Arrays]:
    """For each sample, the array of each output.

    Args:
        compiled: The float model.
        samples: A few.
    """
    shapes, found = input_shapes(compiled), []
    for index in range(len(samples)):
        outputs = compiled(samples.tensors(index, shapes))
        found.append(tuple(np.array(outputs[number], ndmin=1) for number in range(len(compiled.outputs))))
    return found


def misfit(model: ov.Model, kinds: Mapping[str, OutputKind]) -> ConfigError:
    """The error of kinds that the outputs of a model cannot have.

    Args:
        model: The float model.
        kinds: Name of an output to its kind.
    """
    names = [output.name for output in describe_outputs(model)]
    shapes = [port.get_partial_shape() for port in model.outputs]
    found = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
    return ConfigError("outputs", dict(kinds), f"kinds that fit the outputs {found}")


def recognize_outputs(
    model: ov.Model, images: Sequence[Arrays], kinds: Mapping[str, OutputKind] | None = None
) -> RecognizedOutputs:
    """Recognizes the outputs of a model by its graph and by what it gives for some images.

    Args:
        model: The float model.
        images: For each image, the array of each output, or of the first ones.
        kinds: Name of an output to its kind, where that is known.
    """
    outputs, sizes, known = describe_outputs(model)[: len(images[0])], image_sizes(model), kinds or {}
    unknown = [number for number, output in enumerate(outputs) if output.name not in known]
    detector = find_detector(outputs, images, [size[:2] for size in sizes])
    if detector is not None and not set(detector.outputs) <= set(unknown):
        detector = None
    boxes = () if detector is None else detector.outputs
    maps = sum(image.ndim == 4 and min(image.shape[1:]) > 1 for image in images[0])
    found = {
        number: recognize(output, [image[number] for image in images], sizes, is_only_map=maps == 1)
        for number, output in enumerate(outputs)
        if number not in boxes and output.name not in known
    }
    asked = {
        number: given(known[output.name], images[0][number].shape)
        for number, output in enumerate(outputs)
        if number not in boxes and output.name in known
    }
    return RecognizedOutputs(outputs, detector, dict(sorted((alike(found, images) | asked).items())))
