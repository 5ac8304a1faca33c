from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.metrics.scores import detection_divergence, get_score, register_score


def boxes(seed: int, images: int = 2, count: int = 5, classes: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    places = random.uniform(5, 100, (images, count, 4))
    return np.concatenate([places, random.uniform(0, 1, (images, count, 1 + classes))], axis=2).astype(np.float32)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_zero_for_equal_outputs_and_positive_for_others(first: int, second: int) -> None:
    reference, outputs = boxes(first), boxes(second)
    assert detection_divergence(reference, reference) == pytest.approx(0.0, abs=1e-5)
    assert detection_divergence(outputs, reference) >= -1e-9
    if first != second:
        assert detection_divergence(outputs, reference) > 0.01


def test_where_a_box_lies_matters_as_much_as_there_is_an_object() -> None:
    reference = np.zeros((1, 2, 6), dtype=np.float32)
    reference[0, :, :4] = [50, 50, 20, 20]
    reference[0, :, 4] = [0.9, 0.001]
    scores = []
    for box in (0, 1):
        outputs = reference.copy()
        outputs[0, box, 0] += 10
        scores.append(detection_divergence(outputs, reference))
    # Half the width apart: 200 of 600 pixels in common.
    assert scores == pytest.approx([0.9 * 2 / 3, 0.001 * 2 / 3])


def test_certain_answers_that_turn_out_wrong_are_finite_and_nan_is_not() -> None:
    reference = boxes(0)
    reference[..., 4:] = 1.0
    outputs = reference.copy()
    outputs[..., 4:] = 0.0
    assert np.isfinite(detection_divergence(outputs, reference))
    outputs[0, 0, 0] = np.nan
    assert detection_divergence(outputs, reference) == np.inf


def test_outputs_of_a_classifier_are_refused() -> None:
    logits = np.zeros((4, 10), dtype=np.float32)
    with pytest.raises(ValueError, match=r"needed: both \(N, boxes, 5 \+ classes\)"):
        detection_divergence(logits, logits)


def test_scores_are_found_by_name() -> None:
    assert get_score("detection_divergence") is detection_divergence
    with pytest.raises(
        ConfigError, match=r"^score: found 'x', allowed: one of bernoulli_divergence, .*, squared_error$"
    ):
        get_score("x")
    with pytest.raises(NncfMcqError, match=r"^a score named 'squared_error' is registered already$"):
        register_score("squared_error")(lambda outputs, reference: 0.0)
