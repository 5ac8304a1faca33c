"""Images that are asked for larger than memory are refused before they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nncf_mcq.utils.memory import check_memory

_PIXEL_BYTES: Final = 4
_LARGE: Final = 2**27
"""Bytes of an image below which nobody has to ask how much memory there is."""


def check_image(key: str, found: object, size: Sequence[int], channels: int) -> None:
    """Refuses an image that does not fit into memory.

    Args:
        key: Of `dataset.preprocessing`, which decides.
        found: Its value.
        size: Height and width that the image gets, in pixels.
        channels: How many it has.

    Raises:
        ConfigError: It does not fit.
    """
    count = size[0] * size[1] * channels * _PIXEL_BYTES
    if count > _LARGE:
        check_memory(f"dataset.preprocessing.{key}", found, count, "images of a size")
