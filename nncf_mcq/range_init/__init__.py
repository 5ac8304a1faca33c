"""Range initializers: where the weights of a layer are clipped at a given width."""

from nncf_mcq.range_init.aciq import AciqRange
from nncf_mcq.range_init.base import RangeChoice, RangeInitializer, RangeTask, SingleRule
from nncf_mcq.range_init.grid import Grid, QuantizationMode, grid_from_range, grid_from_scale
from nncf_mcq.range_init.hessian import HessianRange
from nncf_mcq.range_init.kl import KlRange
from nncf_mcq.range_init.lp import LpRange, MaeRange
from nncf_mcq.range_init.max import MaxRange
from nncf_mcq.range_init.mixed_clipping import MixedClippingRange
from nncf_mcq.range_init.percentile import PercentileRange
from nncf_mcq.range_init.search import MseRange, OutputMseRange, ThresholdSearch
from nncf_mcq.range_init.threshold import grid_from_threshold, pooled_weights

__all__ = [
    "AciqRange",
    "Grid",
    "HessianRange",
    "KlRange",
    "LpRange",
    "MaeRange",
    "MaxRange",
    "MixedClippingRange",
    "MseRange",
    "OutputMseRange",
    "PercentileRange",
    "QuantizationMode",
    "RangeChoice",
    "RangeInitializer",
    "RangeTask",
    "SingleRule",
    "ThresholdSearch",
    "grid_from_range",
    "grid_from_scale",
    "grid_from_threshold",
    "pooled_weights",
]
