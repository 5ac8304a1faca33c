"""Every kind of file gives the same pixels where it holds the same image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nncf_mcq import ConfigError
from nncf_mcq.data.datasets import build_dataset
from nncf_mcq.data.decoding import MODES, Channels, decode, to_array
from nncf_mcq.data.preprocessing import PreprocessingParameters, Preprocessor

GRADIENT = np.linspace(0, 1, 60, dtype=np.float32)[None].repeat(40, axis=0)
KINDS: dict[str, tuple[NDArray[Any], str]] = {
    "8-bit png": (np.round(GRADIENT * 255).astype(np.uint8), "png"),
    "16-bit png": (np.round(GRADIENT * 65535).astype(np.uint16), "png"),
    "16-bit tif": (np.round(GRADIENT * 65535).astype(np.uint16), "tif"),
    "float tif": (GRADIENT, "tif"),
}


def save(folder: Path, kind: str) -> Path:
    pixels, suffix = KINDS[kind]
    folder.mkdir(exist_ok=True)
    path = folder / f"image.{suffix}"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("channels", list(MODES))
@pytest.mark.parametrize("kind", list(KINDS))
def test_white_is_white_whatever_the_depth(kind: str, channels: Channels, tmp_path: Path) -> None:
    with Image.open(save(tmp_path, kind)) as image:
        pixels = to_array(decode(image, channels), channels)
    assert pixels.dtype == np.float32
    assert pixels.shape == (channels, 40, 60)
    np.testing.assert_allclose(pixels[: min(channels, 3)], 255 * GRADIENT[None].repeat(min(channels, 3), 0), atol=0.5)
    if channels == 4:
        assert (pixels[3] == 255).all()


@given(st.integers(0, 65535))
def test_sixteen_bits_keep_what_eight_would_round(value: int) -> None:
    image = Image.fromarray(np.full((2, 3), value, dtype=np.uint16))
    np.testing.assert_allclose(to_array(decode(image, 1), 1), value / 257, rtol=1e-6)


@pytest.mark.parametrize("kind", list(KINDS))
def test_deep_images_are_resized_and_cropped_as_others(kind: str, tmp_path: Path) -> None:
    parameters = PreprocessingParameters(resize=20, crop=16, scale="0-1", mean=[0.5], std=[0.5])
    with Image.open(save(tmp_path, kind)) as image:
        found = Preprocessor(parameters)(image)
    with Image.open(save(tmp_path, "8-bit png")) as image:
        expected = Preprocessor(parameters)(image)
    assert found.shape == (1, 16, 16)
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (GRADIENT * 2, "floating-point pixels from 0 to 2"),
        (GRADIENT - 0.5, "floating-point pixels from -0.5"),
        (np.where(GRADIENT > 0.5, np.nan, GRADIENT).astype(np.float32), "not finite"),
        ((GRADIENT * 70000).astype(np.int32), "32-bit integers from 0 to 70000"),
    ],
)
def test_an_unknown_range_is_named_with_its_file(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]], message: str, tmp_path: Path
) -> None:
    Image.fromarray(pixels).save(tmp_path / "strange.tif")
    section = {
        "type": "image_folder",
        "root": ".",
        "split": {"calibration": 1, "report": 1},
        "preprocessing": {"scale": "0-1", "mean": [0], "std": [1]},
    }
    Image.fromarray(pixels).save(tmp_path / "other.tif")
    with pytest.raises(ConfigError, match=rf"(strange|other)\.tif: .*{message}.*images of 8 or 16 bits"):
        build_dataset(section, tmp_path).calibration[0]
    # Where corrupt images are skipped these are as well; here they are all.
    with pytest.raises(ConfigError, match="images that can be read"):
        build_dataset({**section, "corrupt": "skip"}, tmp_path)


def test_colours_of_every_8_bit_mode_become_the_channels(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), (200, 100, 50))
    assert to_array(decode(image, 3), 3)[:, 0, 0].tolist() == [200, 100, 50]
    assert to_array(decode(image, 4), 4)[:, 0, 0].tolist() == [200, 100, 50, 255]
    assert to_array(decode(image, 1), 1)[0, 0, 0] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1)
