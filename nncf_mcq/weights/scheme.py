"""Scheme of weight quantization: one object that every stage that makes weights is given."""

from __future__ import annotations

from dataclasses import dataclass

from nncf_mcq.config.schema import CorrectionConfig, WeightsConfig
from nncf_mcq.range_init.selection import RangeSelection


@dataclass(frozen=True)
class WeightScheme:
    """Grids, rounding and clipping rules.

    Attributes:
        weights: Which grid: its mode, and one for each channel or for each tensor.
        correction: How weights are rounded and the layer's output is corrected.
        ranges: The clipping rule of each layer; a `RangeInitializer` is the rule of all.
    """

    weights: WeightsConfig
    correction: CorrectionConfig
    ranges: RangeSelection
