from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms import v2

from nncf_mcq import ConfigError
from nncf_mcq.data.letterbox import Interpolation
from nncf_mcq.data.preprocessing import PreprocessingParameters, Preprocessor
from tests.data.conftest import write_jpeg

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def image(tmp_path: Path) -> Image.Image:
    write_jpeg(tmp_path / "image.jpg", seed=3, size=(97, 61))
    return Image.open(tmp_path / "image.jpg")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_the_torchvision_pipeline(image: Image.Image, interpolation: Interpolation) -> None:
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


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    resize=st.one_of(st.none(), st.integers(1, 40), st.tuples(st.integers(1, 40), st.integers(1, 40))),
    crop=st.one_of(st.none(), st.integers(1, 50), st.tuples(st.integers(1, 50), st.integers(1, 50))),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
@settings(max_examples=100, deadline=None)
def test_geometry_is_torchvisions_for_every_size(
    size: tuple[int, int],
    resize: int | tuple[int, int] | None,
    crop: int | tuple[int, int] | None,
    interpolation: Interpolation,
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    steps = [v2.Identity()]
    if resize is not None:
        steps.append(v2.Resize(resize, v2.InterpolationMode(interpolation)))
    if crop is not None:
        steps.append(v2.CenterCrop(crop))
    expected = np.asarray(v2.Compose(steps)(image), dtype=np.float32).transpose(2, 0, 1)
    values = {"resize": resize, "crop": crop, "interpolation": interpolation}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    parameters = PreprocessingParameters.model_validate(
        {**lists, "scale": "0-255", "mean": [0.0] * 3, "std": [1.0] * 3}
    )
    np.testing.assert_array_equal(Preprocessor(parameters)(image), expected)


def test_bicubic_differs_from_bilinear(image: Image.Image) -> None:
    values = {"resize": 32, "scale": "0-1", "mean": MEAN, "std": STD}
    bilinear = Preprocessor(PreprocessingParameters.model_validate(values))(image)
    bicubic = Preprocessor(PreprocessingParameters.model_validate({**values, "interpolation": "bicubic"}))(image)
    assert np.abs(bilinear - bicubic).max() > 0.02


def test_mean_and_std_are_in_the_unit_of_scale(image: Image.Image) -> None:
    parameters = PreprocessingParameters(scale="0-255", mean=[127, 0, 1], std=[128, 1, 2])
    pixels = np.asarray(image, dtype=np.float32)
    found = Preprocessor(parameters)(image)
    assert found.shape == (3, 61, 97)
    np.testing.assert_allclose(found[0], (pixels[..., 0] - 127) / 128, atol=1e-6)
    np.testing.assert_allclose(found[1], pixels[..., 1], atol=1e-6)
    np.testing.assert_allclose(found[2], (pixels[..., 2] - 1) / 2, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(image: Image.Image, mode: str) -> None:
    parameters = PreprocessingParameters(crop=16, scale="0-1", mean=[0, 0, 0], std=[1, 1, 1])
    assert Preprocessor(parameters)(image.convert(mode)).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize", 0),
        ("crop", -1),
        ("interpolation", "nearest"),
        ("scale", "0-2"),
        ("mean", [0.5, 0.5]),
        ("resize", [32]),
        ("crop", [8, 0]),
        ("layout", "CHW"),
        ("channel_order", "GBR"),
        ("mean", [0.5, 0.5, float("nan")]),
        ("std", [1, 1, 0]),
        ("colour", "RGB"),
    ],
)
def test_impossible_values_are_errors(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        PreprocessingParameters.model_validate({"scale": "0-1", "mean": MEAN, "std": STD, key: value})
    assert caught.value.errors()[0]["loc"][0] == key


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_inputs_that_are_not_square(image: Image.Image, channels: int, layout: str) -> None:
    values = {"scale": "0-1", "mean": [0.25] * channels, "std": [0.5] * channels, "layout": layout}
    stretched = Preprocessor(PreprocessingParameters.model_validate({**values, "resize": [20, 50]}))(image)
    cropped = Preprocessor(PreprocessingParameters.model_validate({**values, "crop": [20, 50]}))(image)
    boxed = Preprocessor(PreprocessingParameters.model_validate({**values, "letterbox": [20, 50], "fill": 0.25}))(image)
    for found in (stretched, cropped, boxed):
        assert found.shape == ((channels, 20, 50) if layout == "NCHW" else (20, 50, channels))
        assert found.flags.c_contiguous
    # 97 x 61 pixels become 32 x 20, with 9 columns of padding on each side, which the mean makes zero.
    columns = boxed if layout == "NCHW" else boxed.transpose(2, 0, 1)
    assert (columns[:, :, :9] == 0).all()
    assert (columns[:, :, 41:] == 0).all()
    assert columns[0, :, 9:41].std() > 0


@pytest.mark.parametrize(("key", "value"), [("resize", 6000), ("crop", [6000, 6000]), ("letterbox", [6000, 7000])])
def test_sizes_beyond_memory_are_refused(
    image: Image.Image, key: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small machine: an image that is made all the same takes little of this one."""
    monkeypatch.setattr("nncf_mcq.utils.memory.available_bytes", lambda: 2 * 10**8)
    parameters = PreprocessingParameters.model_validate({"scale": "0-1", "mean": MEAN, "std": STD, key: value})
    with pytest.raises(ConfigError, match=rf"dataset.preprocessing.{key}: found .*GB are needed, .*GB are available"):
        Preprocessor(parameters)(image)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_blue_first(image: Image.Image, layout: str) -> None:
    """Mean and deviation are in the order that the network reads."""
    values = {"scale": "0-255", "resize": 20, "layout": layout}
    plain = PreprocessingParameters.model_validate({**values, "mean": [10, 20, 30], "std": [1, 2, 3]})
    reversed_ = PreprocessingParameters.model_validate(
        {**values, "mean": [30, 20, 10], "std": [3, 2, 1], "channel_order": "BGR"}
    )
    found = Preprocessor(reversed_)(image)
    axis = 0 if layout == "NCHW" else 2
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(np.flip(found, axis), Preprocessor(plain)(image))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": [0.5], "std": [1.0] * 3}, "as many numbers in std as in mean"),
        ({"letterbox": [8, 8], "resize": 8}, "either letterbox, or resize and crop"),
        ({"mean": [0.5], "std": [1.0], "channel_order": "BGR"}, "channel_order BGR for three channels; there are 1"),
    ],
)
def test_keys_that_do_not_go_together(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreprocessingParameters.model_validate({"scale": "0-1", "mean": MEAN, "std": STD, **values})
