"""What a float model makes of images that it was not made for is said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nncf_mcq.metrics.detectors import find_detector
from nncf_mcq.metrics.doubts import Doubts
from nncf_mcq.metrics.output_kinds import RecognizedOutput
from nncf_mcq.metrics.quality import Quality
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.outputs import ModelOutput
from nncf_mcq.model.samples import Arrays
from tests.metrics.test_detectors import described, head

IMAGES = 20


def sentences(recognized: RecognizedOutputs, images: Sequence[Arrays]) -> list[str]:
    doubts = Doubts(recognized)
    for outputs in images:
        doubts.add(outputs)
    return list(doubts.sentences())


@pytest.mark.parametrize("name", ["objectness", "classes", "ssd", "end to end"])
def test_a_detector_that_finds_nothing(name: str) -> None:
    images = [head(name, seed) for seed in range(IMAGES)]
    recognized = RecognizedOutputs(described(name, images[0]), find_detector(described(name, images[0]), images), {})
    assert recognized.detector is not None
    assert sentences(recognized, images) == []

    dead = RecognizedOutputs(recognized.outputs, recognized.detector, {})
    none = [tuple(np.where(values < 1, 0.01 * values, values) for values in outputs) for outputs in images]
    if name == "ssd":
        # The first class is that of nothing.
        none = [(np.where(np.arange(4) == 0, 0.99, 0.0033)[None, None] * np.ones_like(p), b) for p, b in images]
    (sentence,) = sentences(dead, none)
    assert sentence.startswith("the float model finds no box of a score above 0.25 in 20 images: ")
    assert sentences(dead, [*none[1:], images[0]]) == []
    assert sentences(dead, none[:7]) == []


def classes(labels: list[int], count: int = 5) -> list[tuple[np.ndarray, ...]]:
    return [(np.eye(count, dtype=np.float32)[[label]],) for label in labels]


def test_one_class_for_nearly_all_images() -> None:
    recognized = RecognizedOutputs([ModelOutput("y")], None, {0: RecognizedOutput("classes")})
    assert sentences(recognized, classes([3] * 18 + [1, 2])) == []
    (sentence,) = sentences(recognized, classes([3] * 19 + [1]))
    assert sentence.startswith("the float model gives class 3 to 19 of 20 images: that a quantized model does so too")
    of_two = RecognizedOutputs([ModelOutput("x"), ModelOutput("y")], None, {0: RecognizedOutput("classes")})
    (sentence,) = sentences(of_two, classes([3] * 20))
    assert "class 3 of output x to 20 of 20" in sentence


def test_no_text() -> None:
    recognized = RecognizedOutputs([ModelOutput("y")], None, {0: RecognizedOutput("sequence", axis=2)})
    empty, text = np.eye(5)[[[4] * 9]], np.eye(5)[[[4, 4, 1, 4, 2, 2, 4, 4, 4]]]
    assert sentences(recognized, [(text,)] * 2 + [(empty,)] * 18) == []
    (sentence,) = sentences(recognized, [(text,)] + [(empty,)] * 19)
    assert sentence.startswith("the float model gives every step class 4 in 19 of 20 images, which is no text: ")


def test_the_quality_of_a_model_has_the_doubts_about_the_float_model() -> None:
    quality = Quality(RecognizedOutputs([ModelOutput("y")], None, {0: RecognizedOutput("classes")}))
    for index, expected in enumerate(classes([3] * 20)):
        quality.add(classes([index % 5])[0], expected)
    (sentence,) = quality.doubts
    assert "class 3 to 20 of 20 images" in sentence
