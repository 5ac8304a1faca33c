"""A file that does not run as it must never gets its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from nncf_mcq import VerificationError
from nncf_mcq.ir.export import export
from tests.models import convolution_model, random_images

SHAPE = (1, 3, 8, 8)


def test_a_float_layer_is_refused_and_what_was_there_before_is_kept(tmp_path: Path) -> None:
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("before")
    model, images = convolution_model(SHAPE, (4, 3, 3, 3)), random_images(2, SHAPE)
    with pytest.raises(VerificationError, match="layer 'layer' runs in f32, not in int8"):
        export(model, tmp_path, "model", ["layer"], images, information={}, threads=1)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.xml": "before",
        "model.bin": "before",
    }


def test_a_layer_that_is_not_in_the_file_is_refused(tmp_path: Path) -> None:
    model, images = convolution_model(SHAPE, (4, 3, 3, 3)), random_images(2, SHAPE)
    with pytest.raises(VerificationError, match="layer 'missing' is not in the file"):
        export(model, tmp_path, "model", ["missing"], images, information={}, threads=1)
    assert not list(tmp_path.iterdir())
