from __future__ import annotations

import json

import numpy as np
import pytest

from nncf_mcq.model.loading import to_openvino
from nncf_mcq.precision_init.study import Subject
from nncf_mcq.precision_init.study.subject import images_digest, model_digest
from nncf_mcq.utils.json_values import JsonValue
from tests.models import SAMPLE_SIZE, concat_model, random_images, small_network

SETTINGS: dict[str, JsonValue] = {"compression": {"weights": {"bits": [2, 4]}, "seed": 0}}
SUBJECT = Subject("a", "b", SETTINGS)


def test_a_subject_is_the_same_after_json() -> None:
    assert SUBJECT.differences(json.loads(json.dumps(SUBJECT.to_dict()))) == ""


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Subject("x", "b", SETTINGS), "another model"),
        (Subject("x", "y", SETTINGS), "another model, other images"),
        (Subject("a", "b", {"compression": {"weights": {"bits": [2]}, "seed": 0}}), "compression.weights.bits [2]"),
        (Subject("a", "b", {"compression": {"weights": {"bits": [2, 4]}}}), "no compression.seed"),
        (Subject("a", "b", {**SETTINGS, "score": "mine"}), "score 'mine'"),
    ],
)
def test_differences_are_named(other: Subject, message: str) -> None:
    assert SUBJECT.differences(other.to_dict()) == message


@pytest.mark.parametrize("other", [None, {}, {"model": "a", "images": "b"}, "text"])
def test_what_another_version_wrote_is_another_subject(other: object) -> None:
    assert "this version" in SUBJECT.differences(other)


def test_a_model_is_known_by_its_weights_and_layers() -> None:
    first, again, other = (model_digest(to_openvino(small_network(seed), SAMPLE_SIZE), ["layer"]) for seed in (0, 0, 1))
    assert first == again != other
    model = concat_model()
    assert model_digest(model, ["left", "right"]) != model_digest(model, ["right", "left"])


def test_images_are_known_by_content_and_shape() -> None:
    images = random_images(4)
    assert images_digest([images]) == images_digest([images.copy()])
    assert images_digest([images]) != images_digest([images[:3]])
    assert images_digest([images]) != images_digest([images.reshape(8, 3, 4, 8)])
    changed = images.copy()
    changed[-1, 0, 0, 0] = np.nextafter(changed[-1, 0, 0, 0], np.float32(9))
    assert images_digest([images]) != images_digest([changed])
