"""What result.json tells of the distance from the float model, output by output."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from nncf_mcq.config.record import Record

OutputKind: TypeAlias = Literal[
    "classes", "segmentation", "mask", "heat_maps", "landmarks", "embedding", "sequence", "labels", "values"
]
"""classes: (N, classes). segmentation: classes of each pixel. mask: the probability of each pixel. heat_maps: a map for
each point, with a peak there. landmarks: coordinates of points. embedding: a vector whose direction counts. sequence:
classes of each step, as of text recognition. labels: whole numbers. values: anything else."""


class WorstImage(Record):
    """The image on which an output is farthest from the float model's.

    Attributes:
        index: Its place among the images, from 0.
        name: Of its file, where it has one.
        metric: What is worst there.
        value: Of that metric, on this image alone.
    """

    index: int
    metric: str
    value: float
    name: str | None = None


class OutputQuality(Record):
    """How close one output, or several that belong together, come to the float model's.

    Attributes:
        name: Of the output.
        kind: What it was taken for: boxes, classes, segmentation, mask, heat_maps, landmarks, embedding, sequence,
            labels, or values where it was not recognized.
        description: The same in words, where there is more to say.
        metrics: By name.
        worst: The worst image.
    """

    name: str
    kind: str
    description: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    worst: WorstImage | None = None


class QualityReport(Record):
    """How close the quantized model comes to the float model; no labels are needed.

    Attributes:
        images: Whether they are test images, which nothing else has seen, or those that it was calibrated on.
        count: How many.
        outputs: In the order of the model.
        notes: What could not be measured, and why.
        doubts: Why being close to the float model may say nothing.
    """

    images: Literal["test", "calibration"] = "test"
    count: int = 0
    outputs: tuple[OutputQuality, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
