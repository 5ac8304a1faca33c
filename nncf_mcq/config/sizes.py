"""Sizes of files as people write them."""

from __future__ import annotations

import re
from typing import Final

from nncf_mcq.config.budget import WeightSizeBudget
from nncf_mcq.errors import ConfigError

SIZES: Final = "a size of the .bin such as 2.5MB, 900kB or 2500000 (bytes), or bits per weight such as 3.5bits"

_UNITS: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def parse_size(text: str, path: str = "size") -> WeightSizeBudget:
    """A size as the limit of a budget: `2.5MB`, `900kB`, `2500000` and `2500000B` in bytes, `3.5bits` in average bits.

    Args:
        text: The number and its unit, in upper or lower case; units of bytes are powers of 1000.
        path: What the size is called, for the message.

    Raises:
        ConfigError: It is no size.
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{0,15})?)\s*([a-z]*)\s*", text, re.IGNORECASE | re.ASCII)
    number, unit = (float(match[1]), match[2].lower()) if match else (0.0, "")
    if unit in ("bit", "bits") and number > 0:
        return WeightSizeBudget(average_bits=number)
    # A file has a whole number of bytes; the part of one is no room for any.
    if unit in _UNITS and (size := int(round(number * _UNITS[unit], 3))) > 0:
        return WeightSizeBudget(bytes=size)
    raise ConfigError(path, text, SIZES)
