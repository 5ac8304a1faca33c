"""Whether a float model seems to get the images that it was trained for: if not, being close to it says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.metrics.detector import SHOWN_SCORE
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.samples import Arrays

_FEWEST_IMAGES: Final = 8
_NEARLY_ALL: Final = 0.95
_INPUTS: Final = "range, mean and deviation of the inputs, and the order of the colours"


class Doubts:
    """Collects what a float model makes of images.

    Args:
        recognized: What its outputs are.
    """

    def __init__(self, recognized: RecognizedOutputs) -> None:
        self._detector = recognized.detector
        self._axes = {
            number: kind.axis for number, kind in recognized.kinds.items() if kind.kind in ("classes", "sequence")
        }
        self._is_sequence = {number for number in self._axes if recognized.kinds[number].kind == "sequence"}
        self._names = [output.name for output in recognized.outputs]
        self._classes: dict[int, list[NDArray[Any]]] = {number: [] for number in self._axes}
        self._images = self._found = 0

    def add(self, outputs: Arrays) -> None:
        """Adds an image.

        Args:
            outputs: All outputs (1, ...) of the float model.
        """
        self._images += 1
        if self._detector is not None:
            self._found += self._detector.finds(outputs)
        for number, axis in self._axes.items():
            values = outputs[number]
            if values.size and values.shape[axis] > 1 and np.isfinite(values).all():
                self._classes[number].append(values.argmax(axis=axis).reshape(-1))

    def sentences(self) -> Iterator[str]:
        """Why it is doubtful, one sentence each without the full stop; none for a few images."""
        if self._images < _FEWEST_IMAGES:
            return
        if self._detector is not None and not self._found:
            yield (
                f"the float model finds no box of a score above {SHOWN_SCORE} in {self._images} images: {_INPUTS} "
                "may not be those that it was trained with, and being close to it then says nothing"
            )
        for number, classes in self._classes.items():
            if len(classes) < _FEWEST_IMAGES:
                continue
            answers = np.concatenate(classes).tolist()
            ((label, count),) = Counter(answers).most_common(1)
            of_output = f" of output {self._names[number]}" if len(self._names) > 1 else ""
            if number in self._is_sequence:
                empty = sum((steps == label).all() for steps in classes)
                if empty >= _NEARLY_ALL * self._images:
                    yield (
                        f"the float model gives every step{of_output} class {label} in {empty} of {self._images} "
                        f"images, which is no text: {_INPUTS} may not be those that it was trained with"
                    )
            elif count >= _NEARLY_ALL * len(answers):
                yield (
                    f"the float model gives class {label}{of_output} to {count} of {len(answers)} images: that a "
                    f"quantized model does so too says little. If they should have other classes, {_INPUTS} may not be "
                    "those that it was trained with"
                )
