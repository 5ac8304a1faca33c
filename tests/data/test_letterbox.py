from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from nncf_mcq import ConfigError
from nncf_mcq.data.letterbox import Letterbox, LetterboxParameters, Placement

side = st.integers(1, 2000)
size = st.tuples(side, side)


@given(size, size, st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_boxes_return_from_the_input(
    image_size: tuple[int, int], input_size: tuple[int, int], relative: list[tuple[float, float]]
) -> None:
    height, width = image_size
    boxes = np.array(relative) * [width, height, width, height]
    placement = Placement.fit(image_size, input_size)
    np.testing.assert_allclose(placement.to_image(placement.to_input(boxes)), boxes, atol=1e-6)


@given(size, size)
def test_the_image_lies_within_the_input(image_size: tuple[int, int], input_size: tuple[int, int]) -> None:
    placement = Placement.fit(image_size, input_size)
    for offset, resized, available in zip(placement.offset, placement.resized, input_size, strict=True):
        assert offset >= 0
        assert resized >= 1
        assert offset + resized <= available
        # In the middle, but for the odd pixel.
        assert 0 <= available - resized - 2 * offset <= 1
    assert any(resized == available for resized, available in zip(placement.resized, input_size, strict=True))


def test_boxes_are_cut_to_the_image() -> None:
    placement = Placement.fit((10, 20), (40, 40))
    assert placement.to_image(np.array([[-5.0, 0.0, 45.0, 40.0]])).tolist() == [[0.0, 0.0, 20.0, 10.0]]


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_pixels_and_padding(mode: str) -> None:
    image = Image.new("RGB", (20, 10), (255, 255, 255)).convert(mode)
    pixels, placement = Letterbox(LetterboxParameters(size=[40, 40], fill=0.25))(image)
    assert placement == Placement((10, 20), (20, 40), (10, 0), (40, 40))
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 40, 40)
    assert (pixels[:, 10:30] == 1.0).all()
    assert (pixels[:, :10] == 0.25).all()
    assert (pixels[:, 30:] == 0.25).all()


def test_a_size_beyond_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncf_mcq.utils.memory.available_bytes", lambda: 2 * 10**8)
    with pytest.raises(ConfigError, match=r"dataset.preprocessing.size: found .*GB are needed"):
        Letterbox(LetterboxParameters(size=[6000, 7000]))(Image.new("RGB", (20, 10)))


def test_the_range_and_the_order_of_the_colours() -> None:
    image = Image.new("RGB", (20, 10), (255, 51, 0))
    pixels, _ = Letterbox(LetterboxParameters(size=[10, 20]))(image)
    raw, _ = Letterbox(LetterboxParameters(size=[10, 20], scale="0-255", channel_order="BGR"))(image)
    assert pixels[:, 0, 0].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert raw[:, 0, 0].tolist() == [0.0, 51.0, 255.0]
    with pytest.raises(ValidationError, match="channel_order BGR for three channels; there are 1"):
        LetterboxParameters(size=[10, 20], channels=1, channel_order="BGR")
