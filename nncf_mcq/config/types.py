"""Types that the configuration and the parameters of initializers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from nncf_mcq.policy import SUPPORTED_BITS

Bits = Annotated[int, Field(strict=True, ge=min(SUPPORTED_BITS), le=max(SUPPORTED_BITS))]
"""A width of weights or activations: 2..8."""

Coding: TypeAlias = Literal["uniform", "trellis"]
"""How the levels of weights stand for values: on a grid, or as `nncf_mcq.weights.trellis` says."""

CodingChoice: TypeAlias = Literal["automatic", "uniform", "trellis"]
"""That of a configuration; automatic is one of the others."""

CALIBRATION: Final = 128
"""Calibration images of a data set that holds the test images, too, where nothing says how many."""

MOST_CALIBRATION: Final = 512
"""Calibration images that are used where there are as many and nothing says how many; docs/data.md has what they are
worth."""

SampleSize: TypeAlias = "Sequence[int] | Mapping[str | int, Sequence[int]]"
"""Shape of the only input with the batch dimension, or by name or number of each input its own."""
