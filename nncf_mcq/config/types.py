"""Types that the configuration and the parameters of initializers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

from pydantic import Field

from nncf_mcq.policy import SUPPORTED_BITS

Bits = Annotated[int, Field(strict=True, ge=min(SUPPORTED_BITS), le=max(SUPPORTED_BITS))]
"""A width of weights or activations: 2..8."""

SampleSize: TypeAlias = "Sequence[int] | Mapping[str | int, Sequence[int]]"
"""Shape of the only input with the batch dimension, or by name or number of each input its own."""
