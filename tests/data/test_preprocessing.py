from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms import v2

from nncf_mcq.data.preprocessing import PreprocessingParameters, Preprocessor
from tests.data.conftest import write_jpeg

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def image(tmp_path: Path) -> Image.Image:
    write_jpeg(tmp_path / "image.jpg", seed=3, size=(97, 61))
    return Image.open(tmp_path / "image.jpg")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_the_torchvision_pipeline(image: Image.Image, interpolation: str):
    expected = v2.Compose(
        [
            v2.Resize(32, v2.InterpolationMode(interpolation)),
            v2.CenterCrop(24),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )(image)
    parameters = PreprocessingParameters(
        resize=32, crop=24, interpolation=interpolation, scale="0-1", mean=MEAN, std=STD
    )
    found = Preprocessor(parameters)(image)
    assert found.dtype == np.float32
    assert found.shape == (3, 24, 24)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


def test_bicubic_differs_from_bilinear(image: Image.Image):
    values = {"resize": 32, "scale": "0-1", "mean": MEAN, "std": STD}
    bilinear = Preprocessor(PreprocessingParameters(**values))(image)
    bicubic = Preprocessor(PreprocessingParameters(**values, interpolation="bicubic"))(image)
    assert np.abs(bilinear - bicubic).max() > 0.02


def test_mean_and_std_are_in_the_unit_of_scale(image: Image.Image):
    parameters = PreprocessingParameters(scale="0-255", mean=[127, 0, 1], std=[128, 1, 2])
    pixels = np.asarray(image, dtype=np.float32)
    found = Preprocessor(parameters)(image)
    assert found.shape == (3, 61, 97)
    np.testing.assert_allclose(found[0], (pixels[..., 0] - 127) / 128, atol=1e-6)
    np.testing.assert_allclose(found[1], pixels[..., 1], atol=1e-6)
    np.testing.assert_allclose(found[2], (pixels[..., 2] - 1) / 2, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(image: Image.Image, mode: str):
    parameters = PreprocessingParameters(crop=16, scale="0-1", mean=[0, 0, 0], std=[1, 1, 1])
    assert Preprocessor(parameters)(image.convert(mode)).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize", 0),
        ("crop", -1),
        ("interpolation", "nearest"),
        ("scale", "0-2"),
        ("mean", [0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("std", [1, 1, 0]),
        ("colour", "RGB"),
    ],
)
def test_impossible_values_are_errors(key: str, value: object):
    with pytest.raises(ValidationError) as caught:
        PreprocessingParameters.model_validate({"scale": "0-1", "mean": MEAN, "std": STD, key: value})
    assert caught.value.errors()[0]["loc"][0] == key
