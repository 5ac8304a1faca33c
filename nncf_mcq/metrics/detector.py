"""The part of a model's outputs that holds boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from nncf_mcq.metrics.detection import MAXIMUM_DETECTIONS, Detections
from nncf_mcq.model.samples import Arrays

SHOWN_SCORE: Final = 0.25
"""Boxes of the float detector that count as found: above the score at which they are usually shown."""

Reader: TypeAlias = Callable[[Arrays, float, int], Detections]
"""From all outputs of one image, the score above which boxes count, and the largest number of them."""


@dataclass(frozen=True)
class Detector:
    """The part of a model's outputs that holds boxes.

    Attributes:
        family: What it is, in words.
        outputs: Numbers of the outputs that it consists of.
        reader: Reads the detections.
        form: How boxes and classes lie in a single output: with an objectness in rows (`objectness`; `cells` where the
            boxes are not in pixels yet), without one in columns (`classes`) or rows (`classes_last`); None for other
            outputs.
        logits: Number of an output of scores that no sigmoid has made probabilities; None where there is none.
    """

    family: str
    outputs: tuple[int, ...]
    reader: Reader
    form: str | None = None
    logits: int | None = None

    def read(self, image: Arrays, threshold: float) -> Detections:
        """The detections in an image, boxes in the unit of the outputs.

        Args:
            image: All outputs (1, ...).
            threshold: Scores above it count.
        """
        return self.reader(image, threshold, MAXIMUM_DETECTIONS)

    def finds(self, image: Arrays) -> bool:
        """Whether there is a box in an image that would be shown; nothing is suppressed for it.

        Args:
            image: All outputs (1, ...).
        """
        return len(self.reader(image, SHOWN_SCORE, 1).scores) > 0

    def best_score(self, image: Arrays) -> float:
        """The score of the best box in an image, 0 where there is none; nothing is suppressed for it.

        Args:
            image: All outputs (1, ...).
        """
        return float(np.max(self.reader(image, 0.0, 1).scores, initial=0.0))
