"""Goals on how close boxes and pixels are to the float model's."""

from __future__ import annotations

import nncf
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset
from pydantic import JsonValue

from nncf_mcq import ConfigError, quantize
from nncf_mcq.config.goal import Goal
from nncf_mcq.metrics.bounds import share_lower_bound
from nncf_mcq.metrics.detectors import find_detector
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.samples import Arrays, Samples
from nncf_mcq.precision_init.evaluator import Fold
from nncf_mcq.precision_init.goal import find_quantity
from nncf_mcq.precision_init.quality import Interval, ToFloat
from nncf_mcq.testing.networks import small_config
from tests.metrics.test_detectors import described, head, quality_of
from tests.models import SAMPLE_SIZE, convolution, make_model, random_constant, random_images

IMAGES = 64


def folds_of(outputs: Arrays) -> list[Fold]:
    """Two folds of unequal size."""

    def build(policy: object) -> ov.Model:
        raise NotImplementedError

    cuts = (slice(IMAGES // 3), slice(IMAGES // 3, None))
    parts = [tuple(values[cut] for values in outputs) for cut in cuts]
    return [Fold(build, Samples(np.zeros((len(part[0]), 1))), part) for part in parts]


def stacked(images: list[Arrays]) -> Arrays:
    return tuple(np.concatenate(values) for values in zip(*images, strict=True))


@pytest.fixture(scope="module")
def expected() -> list[Arrays]:
    return [head("classes", seed) for seed in range(IMAGES)]


@pytest.fixture(scope="module")
def found(expected: list[Arrays]) -> list[Arrays]:
    """Boxes that are moved by less and more, and one of four that is lost."""
    random = np.random.default_rng(3)
    moved: list[Arrays] = [(values.copy(),) for (values,) in expected]
    for index, (values,) in enumerate(moved):
        values[:, 0] += values[:, 2] * random.uniform(0, 0.2)
        values[:, 4:, 9] *= 0.001 if index % 4 == 0 else 1
    return moved


def recognized(expected: list[Arrays]) -> RecognizedOutputs:
    outputs = described("classes", expected[0])
    return RecognizedOutputs(outputs, find_detector(outputs, expected), {})


def interval(metric: str, expected: list[Arrays], found: list[Arrays], confidence: float = 0.95) -> Interval:
    folds = folds_of(stacked(expected))
    quality = ToFloat(metric, folds, recognized(expected))
    return quality.interval([fold.reference for fold in folds_of(stacked(found))], confidence)


@pytest.mark.parametrize("metric", ["box_map50", "box_map"])
def test_the_agreement_of_boxes_and_its_bounds(metric: str, expected: list[Arrays], found: list[Arrays]) -> None:
    measured = interval(metric, expected, found)
    assert measured.value == pytest.approx(quality_of(found, expected).metrics()[metric])
    assert 0.4 < measured.low < measured.value - measured.error
    assert measured.value + measured.error < measured.high < 1
    # The jackknife's error is that of other draws of the images.
    random = np.random.default_rng(1)
    draws = []
    for _ in range(40):
        rows = random.integers(IMAGES, size=IMAGES)
        draws.append(quality_of([found[row] for row in rows], [expected[row] for row in rows]).metrics()[metric])
    assert measured.error == pytest.approx(np.std(draws), rel=0.5)
    wider = interval(metric, expected, found, 0.999)
    assert wider.low < measured.low < measured.high < wider.high


POPULATION, DRAWS, DRAWN = 600, 20, 48
CLASS_SHARES = (0.5, 0.25, 0.15, 0.07, 0.03)
BOXES = 12


def detected(seed: int, mistakes: float) -> tuple[Arrays, Arrays]:
    """What the float model gives for an image, and another model: boxes are lost, moved and made up.

    Args:
        seed: Of the image.
        mistakes: Their share; in a third of the images they are many, in the others few.
    """
    random = np.random.default_rng(seed)
    count = min(random.poisson(2.5), BOXES // 2)
    share = mistakes * (3 if random.random() < 0.3 else 0.15)
    boxes = np.column_stack([random.uniform(20, 80, (BOXES, 2)), random.uniform(10, 40, (BOXES, 2))])
    classes = random.choice(len(CLASS_SHARES), BOXES, p=CLASS_SHARES)
    expected, found = np.full((2, BOXES, len(CLASS_SHARES)), 0.001)
    rows = np.arange(BOXES)
    expected[rows[:count], classes[:count]] = random.uniform(0.4, 0.9, count)
    found[rows[:count], classes[:count]] = random.uniform(0.4, 0.9, count) * (random.random(count) > share)
    extra = random.random(BOXES - count) < share / 2
    found[rows[count:][extra], classes[count:][extra]] = random.uniform(0.1, 0.5, extra.sum())
    moved = boxes.copy()
    moved[:, :2] += boxes[:, 2:] * np.where(random.random(BOXES) < share, random.normal(0, 0.4, BOXES), 0)[:, None]
    head_of = [np.column_stack(parts).T[None].astype(np.float32) for parts in ((boxes, expected), (moved, found))]
    return (head_of[0],), (head_of[1],)


@pytest.mark.parametrize(
    ("metric", "mistakes"),
    [
        ("box_map50", 0.02),
        ("box_map", 0.002),
        *(
            pytest.param(metric, mistakes, marks=pytest.mark.slow)
            for metric, mistakes in (("box_map50", 0.1), ("box_map50", 0.002), ("box_map", 0.1), ("box_map", 0.02))
        ),
    ],
)
def test_the_bound_of_boxes_holds_in_eighteen_of_twenty_draws(metric: str, mistakes: float) -> None:
    """Images of some classes are rare, and of most images all is right."""
    images = [detected(seed, mistakes) for seed in range(POPULATION)]
    truth = quality_of([found for _, found in images], [expected for expected, _ in images]).metrics()[metric]
    assert truth < 1
    held = 0
    for seed in range(DRAWS):
        drawn = np.random.default_rng(seed).choice(POPULATION, DRAWN, replace=False)
        expected, found = zip(*(images[index] for index in drawn), strict=True)
        # A goal of 95 % asks for bounds of half the error.
        held += interval(metric, list(expected), list(found), 0.975).low <= truth
    assert held >= 18


def test_no_difference_is_no_proof(expected: list[Arrays]) -> None:
    measured = interval("box_map", expected, expected)
    assert (measured.value, measured.high) == (1, 1)
    assert measured.low == share_lower_bound(IMAGES, IMAGES, 0.95) < 0.97


def test_boxes_in_too_few_images_promise_nothing(expected: list[Arrays]) -> None:
    rare: list[Arrays] = [(values.copy(),) for (values,) in expected]
    for index, (values,) in enumerate(rare):
        values[:, 4:] *= 1 if index == 5 else 0.01
    moved: list[Arrays] = [(values.copy(),) for (values,) in rare]
    for (values,) in moved:
        values[:, 0] += values[:, 2] * 0.249
    measured = interval("box_map", rare, moved)
    assert (measured.value, measured.low, measured.high) == (pytest.approx(0.3), 0, 1)


def test_what_cannot_be_measured_is_said(expected: list[Arrays]) -> None:
    def quantity(metric: str, reference: Arrays, outputs: RecognizedOutputs) -> None:
        find_quantity(Goal.model_validate({metric: 0.9}), folds_of(reference), lambda: outputs)

    with pytest.raises(ConfigError, match=r"goal: found 'pixel_agreement', .*recognized outputs: 0: boxes with 3 cl"):
        quantity("pixel_agreement", stacked(expected), recognized(expected))
    nothing: list[Arrays] = [(values * np.float32(0.01),) for (values,) in expected]
    with pytest.raises(ConfigError, match=r"the float model finds none of a score above 0\.25 on these images"):
        quantity("box_map", stacked(nothing), recognized(expected))
    classes = (np.zeros((IMAGES, 4), np.float32),)
    with pytest.raises(ConfigError, match="recognized outputs: none"):
        quantity("box_map50", classes, RecognizedOutputs(described("", classes), None, {}))


def pixels(data: ov.Node, outputs: int, inputs: int) -> ov.Node:
    return convolution(data, random_constant(outputs, inputs, 3, 3, seed=outputs), f"layer {outputs}", pad=1)


def segmentation() -> ov.Model:
    """Two convolutions, and a class for each pixel."""
    return make_model(lambda image: pixels(opset.relu(pixels(image, 8, 3)), 5, 8), SAMPLE_SIZE)


def test_the_smallest_model_whose_pixels_agree() -> None:
    images = nncf.Dataset(list(random_images(24)[:, None]))
    bits = {}
    for limit in (0.7, 0.93):
        goal: JsonValue = {"pixel_agreement": limit}
        config = small_config(precision={"type": "ilp", "measured_widths": 1, "goal": goal})
        result = quantize(segmentation(), images, config)
        found = result.search.goal
        assert found is not None
        assert (found.quantity, found.kept) == ("pixel_agreement", True)
        assert found.bound is not None
        assert found.value is not None
        assert limit <= found.bound < found.value <= 1
        bits[limit] = found.average_bits
    assert bits[0.7] < bits[0.93]


def test_the_configuration_says_what_an_output_is() -> None:
    images = nncf.Dataset(list(random_images(8)[:, None]))
    precision: JsonValue = {"type": "ilp", "measured_widths": 1, "goal": {"miou_to_float": 0.5}}
    config = small_config(precision=precision).model_copy(update={"outputs": {"0": "values"}})
    with pytest.raises(ConfigError, match=r"goal: found 'miou_to_float', .*\(recognized outputs: none\)"):
        quantize(segmentation(), images, config)
