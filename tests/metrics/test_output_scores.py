"""Every output counts, each by the distance that suits it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from nncf_mcq import ConfigError
from nncf_mcq.metrics.metrics import kl_divergence
from nncf_mcq.metrics.output_scores import OutputScores, choose_scores, default_score
from nncf_mcq.metrics.scores import SCORES, get_score, softened_kl, squared_error
from nncf_mcq.model.outputs import ModelOutput

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((6, 5)).astype(np.float32) * 4
OTHER = LOGITS + RANDOM.standard_normal(LOGITS.shape).astype(np.float32)


def name_of(output: ModelOutput, reference: np.ndarray) -> str:
    function = default_score(output, reference)
    return next(name for name, known in SCORES.items() if known is function)


def boxes(rows: int, classes: int, *, objectness: bool) -> np.ndarray:
    corners = RANDOM.uniform(1, 90, (2, rows, 4))
    probabilities = RANDOM.uniform(0, 1, (2, rows, classes + objectness))
    return np.concatenate([corners, probabilities], axis=2).astype(np.float32)


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        (ModelOutput("y"), LOGITS, "softened_kl"),
        (ModelOutput("y", "softmax", 1), softmax(LOGITS, axis=1), "softened_kl"),
        (ModelOutput("y", "sigmoid"), 1 / (1 + np.exp(-LOGITS)), "bernoulli_divergence"),
        (ModelOutput("y", is_integer=True), np.arange(6), "disagreement"),
        (ModelOutput("y"), RANDOM.standard_normal((2, 3, 4, 4)), "squared_error"),
        (ModelOutput("y", is_map=True), RANDOM.standard_normal((2, 5, 4, 4)), "map_divergence"),
        (
            ModelOutput("y", "softmax", 1),
            softmax(RANDOM.standard_normal((2, 5, 4, 4)), axis=1),
            "distribution_divergence",
        ),
        (ModelOutput("y"), boxes(40, 3, objectness=True), "detection_divergence"),
        (ModelOutput("y"), boxes(40, 3, objectness=False).transpose(0, 2, 1), "box_class_divergence"),
        (ModelOutput("y"), RANDOM.standard_normal((2, 40, 8)), "squared_error"),
        (
            ModelOutput("y", parts=((4, "none"), (3, "sigmoid")), parts_axis=2),
            boxes(40, 3, objectness=False) / 100,
            "box_row_divergence",
        ),
        (ModelOutput("y", "softmax", 2), softmax(RANDOM.standard_normal((2, 9, 4)), axis=2), "class_divergence"),
        (ModelOutput("y"), LOGITS / np.linalg.norm(LOGITS, axis=1, keepdims=True), "squared_error"),
        (ModelOutput("y"), RANDOM.standard_normal((6, 1)), "squared_error"),
    ],
)
def test_each_kind_of_output_has_its_distance(output: ModelOutput, reference: np.ndarray, expected: str) -> None:
    reference = np.asarray(reference)
    assert name_of(output, reference) == expected
    function = get_score(expected)
    assert function(reference, reference) == pytest.approx(0.0, abs=1e-9)
    factors = RANDOM.uniform(0.5, 0.9, reference.shape).astype(np.float32)
    other = reference + 1 if output.is_integer else reference * factors
    assert function(other, reference) > 1e-4


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30))
def test_a_softmax_at_the_end_does_not_change_the_divergence(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    reference = (scale * random.standard_normal((4, 7))).astype(np.float32)
    outputs = (reference + random.standard_normal(reference.shape)).astype(np.float32)
    of_logits = kl_divergence(outputs, reference)
    of_probabilities = kl_divergence(softmax(outputs, axis=1), softmax(reference, axis=1))
    assert of_probabilities == pytest.approx(of_logits, rel=1e-3, abs=1e-6)


def test_the_score_is_the_weighted_sum_over_all_outputs() -> None:
    outputs, reference = (OTHER, OTHER[..., None]), (LOGITS, LOGITS[..., None])
    described = (ModelOutput("first"), ModelOutput("second"))
    both = choose_scores(described, reference)
    first, second = softened_kl(OTHER, LOGITS), squared_error(OTHER, LOGITS)
    assert both(outputs, reference) == pytest.approx(first + second)
    weighted = choose_scores(described, reference, {"second": (None, 3.0)})
    assert weighted(outputs, reference) == pytest.approx(first + 3 * second)
    assert weighted.each(outputs, reference) == pytest.approx({"first": first, "second": 3 * second})
    alone = choose_scores(described, reference, {"first": (None, 0.0)})
    assert alone(outputs, reference) == pytest.approx(second)
    assert choose_scores(described, reference, squared_error)(outputs, reference) == pytest.approx(2 * second)
    assert weighted.to_dict()["second"] == {"type": "squared_error", "weight": 3.0}


def test_choices_that_name_nothing_are_errors() -> None:
    described = (ModelOutput("boxes"), ModelOutput("scores"))
    with pytest.raises(ConfigError, match="score: found 'box', allowed: an output of the model: boxes, scores"):
        choose_scores(described, (LOGITS, LOGITS), {"box": squared_error})
    with pytest.raises(ConfigError, match="an output of positive weight"):
        choose_scores(described, (LOGITS, LOGITS), {"boxes": (None, 0.0), "scores": (None, 0.0)})


def test_outputs_whose_number_depends_on_the_data_are_compared_over_the_larger() -> None:
    score = OutputScores(choose_scores((ModelOutput("kept"),), (np.ones((1, 3, 4)),), squared_error).scores)
    assert score((np.ones((1, 2, 4)),), (np.ones((1, 3, 4)),)) == pytest.approx(1 / 3)
    assert score((np.ones((1, 5, 4)),), (np.ones((1, 3, 4)),)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["bernoulli_divergence", "box_class_divergence"])
def test_a_number_that_is_none_is_infinitely_far(name: str) -> None:
    reference = boxes(40, 3, objectness=False).transpose(0, 2, 1)
    assert math.isinf(get_score(name)(np.where(reference > 50, np.float32(np.nan), reference), reference))


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 9)])
def test_outputs_without_boxes_and_classes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needed: both \(N, 4 \+ classes, boxes\)"):
        get_score("box_class_divergence")(np.ones(shape, np.float32), np.ones(shape, np.float32))
