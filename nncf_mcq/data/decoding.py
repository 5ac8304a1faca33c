"""Pixels of any image file in one unit: 0 is black and 255 is white, whatever the file's own range."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from nncf_mcq.errors import ConfigError

WHITE: Final = 255.0

Channels = Literal[1, 3, 4]
"""Grey; red, green, blue; or these and alpha."""

MODES: Final[dict[Channels, str]] = {1: "L", 3: "RGB", 4: "RGBA"}

_LARGEST_16_BITS: Final = np.float32(65535)
_DEEP: Final = "F"
"""Pillow's mode of grey images with more than 8 bits: their pixels become float32 in the unit of 0 to 255."""


def decode(image: Image.Image, channels: Channels) -> Image.Image:
    """Image with the channels that a network reads, its pixels from 0 to 255.

    Pillow's own conversion clips 16-bit and float images to 255, which makes them white or black.

    Args:
        image: As opened.
        channels: How many the network reads.

    Returns:
        An 8-bit image of mode L, RGB or RGBA; of mode F, with one channel of float32, where the file is grey with more
        than 8 bits.

    Raises:
        ConfigError: The range of the pixels cannot be told.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        return _deep(np.asarray(image, dtype=np.float32) / _LARGEST_16_BITS)
    if mode == "I":
        pixels = np.asarray(image, dtype=np.float32)
        # Pillow reads some 16-bit formats as 32-bit integers; real 32-bit images have no agreed white.
        if image.format not in ("PNG", "PPM") or pixels.min() < 0 or pixels.max() > _LARGEST_16_BITS:
            raise _unknown_range(image, f"32-bit integers from {pixels.min():g} to {pixels.max():g}")
        return _deep(pixels / _LARGEST_16_BITS)
    if mode == _DEEP:
        pixels = np.asarray(image, dtype=np.float32)
        if not np.isfinite(pixels).all():
            raise _unknown_range(image, "floating-point pixels that are not finite")
        if pixels.min() < 0 or pixels.max() > 1:
            raise _unknown_range(image, f"floating-point pixels from {pixels.min():g} to {pixels.max():g}")
        return _deep(pixels)
    return image.convert(MODES[channels])


def to_array(image: Image.Image, channels: Channels) -> npt.NDArray[np.float32]:
    """float32 (channels, height, width) from 0 to 255 of an image that `decode` returned, resized or not."""
    pixels = np.asarray(image, dtype=np.float32)
    if pixels.ndim == 2:
        grey = np.repeat(pixels[None], min(channels, 3), axis=0)
        opaque = np.full((channels - len(grey), *pixels.shape), WHITE, dtype=np.float32)
        return np.concatenate([grey, opaque])
    return pixels.transpose(2, 0, 1)


def _deep(pixels: npt.NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels * np.float32(WHITE)))


def _unknown_range(image: Image.Image, found: str) -> ConfigError:
    name = str(getattr(image, "filename", "")) or "an image"
    return ConfigError("dataset.root", f"{name}: {found}", "images of 8 or 16 bits, or of floats from 0 to 1")
