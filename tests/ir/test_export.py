"""Only a file that gives the outputs of the scored model gets the model's name; no file is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import openvino as ov
import pytest
import torch

from nncf_mcq.ir.export import staged
from nncf_mcq.ir.float_causes import WEIGHTS_NOT_QUANTIZED
from nncf_mcq.ir.verification import TOLERANCE
from tests.exporting import export
from tests.files import no_room_for_more_than
from tests.models import convolution_model, noisy_model, random_images

SHAPE = (1, 3, 8, 8)
IMAGES = random_images(2, SHAPE)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_float_layer_is_a_warning(tmp_path: Path) -> None:
    model = convolution_model(SHAPE, (4, 3, 3, 3))
    exported = export(model, tmp_path, "model", ["layer"], IMAGES, information={}, threads=1)
    assert exported.xml == tmp_path / "model.xml"
    assert exported.verification.warnings == (f"layer 'layer' runs in f32: {WEIGHTS_NOT_QUANTIZED}",)
    assert exported.runtime_precisions == {"layer": "f32"}
    assert names_in(tmp_path) == {"model.xml", "model.bin"}


def test_a_file_that_differs_is_kept_under_another_name_until_one_passes(tmp_path: Path) -> None:
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("before")
    exported = export(noisy_model(SHAPE), tmp_path, "model", [], IMAGES, information={}, threads=1)
    assert exported.xml == tmp_path / "model.unverified.xml"
    assert "values differ" in exported.verification.problems[0]
    assert ov.Core().read_model(exported.xml).output(0).get_shape() == ov.Shape(SHAPE)
    assert names_in(tmp_path) == {"model.xml", "model.bin", "model.unverified.xml", "model.unverified.bin"}
    assert (tmp_path / "model.xml").read_text() == "before"

    good = convolution_model(SHAPE, (4, 3, 3, 3))
    assert export(good, tmp_path, "model", [], IMAGES, information={}, threads=1).verification.passed
    assert names_in(tmp_path) == {"model.xml", "model.bin"}
    assert (tmp_path / "model.xml").read_text() != "before"


def test_the_form_that_is_written_has_to_give_the_outputs_of_the_one_that_was_scored(tmp_path: Path) -> None:
    model, other = (convolution_model(SHAPE, (4, 3, size, size)) for size in (3, 5))
    for written, passes in ((model.clone(), True), (other, False)):
        with staged(model, tmp_path, "model", [], IMAGES, information={}, threads=1, written=written) as found:
            assert found.verification.passed is passes
            assert found.final == tmp_path / ("model.xml" if passes else "model.unverified.xml")
        # What is not published goes.
        assert names_in(tmp_path) == set()


def test_other_files_come_with_the_model(tmp_path: Path) -> None:
    model = convolution_model(SHAPE, (4, 3, 3, 3))
    with staged(model, tmp_path, "model", [], IMAGES, information={}, threads=1) as found:
        for name in ("result.json", "policy.json"):
            (found.folder / name).write_text(name)
        assert names_in(tmp_path) == {found.folder.name}
        found.publish(["result.json"])
        assert names_in(tmp_path) == {found.folder.name, "model.xml", "model.bin", "result.json"}
    assert (tmp_path / "result.json").read_text() == "result.json"
    assert names_in(tmp_path) == {"model.xml", "model.bin", "result.json"}


def test_a_difference_in_the_last_digit_passes_and_is_told(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images / images.square().sum((1, 2, 3), keepdim=True).sqrt()

    # The conversion marks the division as one that may not become a product; a file does not hold such marks.
    model = ov.convert_model(Scaled().eval(), example_input=torch.zeros(SHAPE))
    model.reshape(SHAPE)
    exported = export(model, tmp_path, "model", [], random_images(8, SHAPE), information={}, threads=1)
    assert exported.xml == tmp_path / "model.xml"
    assert 0 < exported.verification.difference < TOLERANCE
    assert "outputs of the file differ from those of the scored model" in exported.verification.warnings[0]


def test_no_room_is_an_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("before")
    model = convolution_model(SHAPE, (64, 3, 3, 3))
    with no_room_for_more_than(4096), pytest.raises(OSError, match="OpenVINO cannot write a model") as caught:
        export(model, tmp_path, "model", [], IMAGES, information={}, threads=1)
    assert caught.value.errno == errno.EIO
    assert names_in(tmp_path) == {"model.xml"}
