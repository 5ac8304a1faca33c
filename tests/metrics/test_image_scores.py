"""Scores are means of one value for each image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, rel_entr, softmax

from nncf_mcq.metrics.output_scores import choose_scores
from nncf_mcq.metrics.scores import SCORES, ImageScore, Score, image_values, squared_error
from nncf_mcq.model.outputs import ModelOutput

IMAGES = 7


def yes_or_no(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return rel_entr(expected, found) + rel_entr(1 - expected, 1 - found)


def apart(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """One minus the overlap of boxes (..., 4)."""
    low = np.maximum(found[..., :2] - found[..., 2:] / 2, expected[..., :2] - expected[..., 2:] / 2)
    high = np.minimum(found[..., :2] + found[..., 2:] / 2, expected[..., :2] + expected[..., 2:] / 2)
    common = np.clip(high - low, 0, None).prod(axis=-1)
    return 1 - common / (found[..., 2:].prod(axis=-1) + expected[..., 2:].prod(axis=-1) - common)


def detections(found: np.ndarray, expected: np.ndarray) -> float:
    objectness = expected[..., 4]
    boxes = yes_or_no(found[..., 4], objectness) + objectness * (
        yes_or_no(found[..., 5:], expected[..., 5:]).sum(axis=-1) + apart(found[..., :4], expected[..., :4])
    )
    return float(boxes.sum() / len(expected))


def classes_of_boxes(found: np.ndarray, expected: np.ndarray) -> float:
    found, expected = found.transpose(0, 2, 1), expected.transpose(0, 2, 1)
    divergence = yes_or_no(found[..., 4:], expected[..., 4:]).sum(axis=-1)
    boxes = divergence + expected[..., 4:].max(axis=-1) * apart(found[..., :4], expected[..., :4])
    return float(boxes.sum() / len(expected))


def with_sides(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[..., :2], np.exp(rows[..., 2:4].astype(np.float64)), rows[..., 4:]], axis=-1)


def divergence_of_logits(found: np.ndarray, expected: np.ndarray) -> float:
    return float(rel_entr(softmax(expected, axis=1), softmax(found, axis=1)).sum(axis=1).mean())


DEFINITIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "kl": divergence_of_logits,
    "softened_kl": lambda found, expected: 16 * divergence_of_logits(found / 4, expected / 4),
    "map_divergence": divergence_of_logits,
    "distribution_divergence": lambda found, expected: float(rel_entr(expected, found).sum(axis=1).mean()),
    "class_divergence": lambda found, expected: float(rel_entr(expected, found).sum(axis=-1).mean()),
    "bernoulli_divergence": lambda found, expected: float(yes_or_no(found, expected).sum(axis=1).mean()),
    "logit_divergence": lambda found, expected: float(yes_or_no(expit(found), expit(expected)).sum(axis=1).mean()),
    "disagreement": lambda found, expected: float((found != expected).mean()),
    "squared_error": lambda found, expected: float(np.square(found - expected).sum() / np.square(expected).sum()),
    "detection_divergence": detections,
    "cell_divergence": lambda found, expected: detections(*map(with_sides, (found, expected))),
    "box_class_divergence": classes_of_boxes,
    "box_row_divergence": lambda found, expected: classes_of_boxes(*(x.transpose(0, 2, 1) for x in (found, expected))),
}


def test_logits_of_rows_are_those_of_their_probabilities() -> None:
    random = np.random.default_rng(0)
    logits = [random.normal(size=(IMAGES, 7, 5)).astype(np.float32) for _ in range(2)]
    probabilities = [softmax(values, axis=-1) for values in logits]
    assert SCORES["class_divergence"](*logits) == pytest.approx(SCORES["class_divergence"](*probabilities), rel=1e-5)


def output_of(name: str, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if name in ("kl", "softened_kl"):
        return random.normal(size=(IMAGES, 5)).astype(np.float32)
    if name in ("detection_divergence", "box_class_divergence", "box_row_divergence"):
        sizes = random.uniform(5, 50, (IMAGES, 6, 4))
        probabilities = random.uniform(0.1, 0.9, (IMAGES, 6, 4))
        boxes = np.concatenate([sizes, probabilities], axis=2).astype(np.float32)
        return boxes.transpose(0, 2, 1) if name == "box_class_divergence" else boxes
    if name == "cell_divergence":
        places, sides = random.uniform(-1, 1, (IMAGES, 6, 2)), random.uniform(-1, 2, (IMAGES, 6, 2))
        return np.concatenate([places, sides, random.uniform(0.1, 0.9, (IMAGES, 6, 4))], axis=2).astype(np.float32)
    values = random.normal(size=(IMAGES, 3, 4, 2))
    if name == "distribution_divergence":
        values = softmax(values, axis=1)
    if name == "class_divergence":
        values = softmax(values, axis=-1)
    if name == "bernoulli_divergence":
        values = expit(values)
    if name == "disagreement":
        values = values.round()
    return values.astype(np.float32)


def registered() -> list[str]:
    return [name for name, score in SCORES.items() if getattr(score, "__module__", "").startswith("nncf_mcq.")]


def test_every_score_of_the_package_is_defined_here() -> None:
    assert set(DEFINITIONS) >= set(registered())
    assert all(isinstance(SCORES[name], ImageScore) for name in DEFINITIONS)


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_score_is_the_mean_of_its_images(name: str) -> None:
    score = SCORES[name]
    assert isinstance(score, ImageScore)
    found, expected = output_of(name, 0), output_of(name, 1)
    values = score.values(found, expected)
    assert (values.shape, values.dtype) == ((IMAGES,), np.float64)
    assert score(found, expected) == pytest.approx(values.mean())
    assert values.mean() == pytest.approx(
        DEFINITIONS[name](found.astype(np.float64), expected.astype(np.float64)), rel=1e-4
    )
    assert image_values(score, found, expected).tolist() == values.tolist()
    assert len(set(values.tolist())) > 1


@pytest.mark.parametrize("name", sorted(set(DEFINITIONS) - {"squared_error"}))
def test_the_value_of_an_image_does_not_depend_on_the_others(name: str) -> None:
    score = SCORES[name]
    found, expected = output_of(name, 0), output_of(name, 1)
    alone = [score(found[index : index + 1], expected[index : index + 1]) for index in range(IMAGES)]
    np.testing.assert_allclose(image_values(score, found, expected), alone, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(set(DEFINITIONS) - {"squared_error", "disagreement"}))
def test_what_is_not_a_number_makes_its_own_image_infinite(name: str) -> None:
    score = SCORES[name]
    found, expected = output_of(name, 0), output_of(name, 1)
    before = image_values(score, found, expected)
    found[2].flat[3] = np.nan
    values = image_values(score, found, expected)
    assert values[2] == np.inf
    others = np.arange(IMAGES) != 2
    np.testing.assert_allclose(values[others], before[others], rtol=1e-9)
    assert score(found, expected) == np.inf


def test_a_squared_error_that_is_not_a_number_says_so() -> None:
    found, expected = output_of("squared_error", 0), output_of("squared_error", 1)
    found[2, 0] = np.nan
    assert np.isnan(squared_error(found, expected))


def own_mean(outputs: np.ndarray, reference: np.ndarray) -> float:
    return float(np.square(outputs.astype(np.float64) - reference).mean())


def own_median(outputs: np.ndarray, reference: np.ndarray) -> float:
    return float(np.median(np.abs(outputs.astype(np.float64) - reference)))


@given(st.integers(2, 32), st.integers(0, 1000))
def test_the_jackknife_finds_the_images_of_a_mean(images: int, seed: int) -> None:
    outputs, reference = np.random.default_rng(seed).normal(size=(2, images, 3)).astype(np.float32)
    expected = np.square(outputs.astype(np.float64) - reference).mean(axis=1)
    np.testing.assert_allclose(image_values(own_mean, outputs, reference), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", [own_mean, own_median])
@given(images=st.integers(1, 100), seed=st.integers(0, 1000))
def test_the_mean_of_pseudovalues_is_the_score(score: Score, images: int, seed: int) -> None:
    outputs, reference = np.random.default_rng(seed).normal(size=(2, images, 3)).astype(np.float32)
    values = image_values(score, outputs, reference)
    assert values.shape == (images,)
    assert values.mean() == pytest.approx(score(outputs, reference), rel=1e-9)


def test_the_jackknife_tells_the_error_of_a_mean_from_groups() -> None:
    outputs, reference = np.random.default_rng(0).normal(size=(2, 3200, 1)).astype(np.float32)
    values = image_values(own_mean, outputs, reference)
    assert len(np.unique(values.round(9))) == 32
    # 32 groups of 100 images tell what the images themselves would, if less exactly.
    assert values.std() == pytest.approx(np.square(outputs - reference).std(), rel=0.5)


def test_a_score_that_is_not_finite_has_no_pseudovalues() -> None:
    ones = np.ones((4, 2), np.float32)
    assert image_values(lambda outputs, reference: float("inf"), ones, ones).tolist() == [np.inf] * 4
    # Without one of the images it is none.
    needs_all = image_values(lambda outputs, reference: 0.5 if len(outputs) == 4 else float("nan"), ones, ones)
    assert needs_all.tolist() == [0.5] * 4


def test_the_values_of_several_outputs_are_those_of_the_samples() -> None:
    random = np.random.default_rng(0)
    found, expected = random.normal(size=(2, 12, 5)).astype(np.float32)
    outputs, reference = (found, found[:4, :, None]), (expected, expected[:4, :, None])
    scores = choose_scores((ModelOutput("rows"), ModelOutput("samples")), reference, {"rows": (squared_error, 0.5)})
    # The first output has three rows of each of the four samples.
    values = scores.values(outputs, reference, 4)
    assert values.shape == (4,)
    assert values.mean() == pytest.approx(scores(outputs, reference))
    rows = image_values(squared_error, found, expected).reshape(4, 3).mean(axis=1)
    np.testing.assert_allclose(values, 0.5 * rows + image_values(squared_error, outputs[1], reference[1]))
    alone = choose_scores((ModelOutput("rows"), ModelOutput("samples")), reference, {"samples": (None, 0.0)})
    assert alone.values(outputs, reference, 4).shape == (4,)
