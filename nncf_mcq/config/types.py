"""Types that the configuration and the parameters of initializers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nncf_mcq.policy import SUPPORTED_BITS

Bits = Annotated[int, Field(strict=True, ge=min(SUPPORTED_BITS), le=max(SUPPORTED_BITS))]
"""A width of weights or activations: 2..8."""
