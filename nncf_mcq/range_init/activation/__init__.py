"""Activation range initializers: where the values between layers are clipped at a given width."""

from nncf_mcq.range_init.activation.automatic import AutomaticActivationRange
from nncf_mcq.range_init.activation.base import ActivationRangeInitializer, ActivationRangeTask
from nncf_mcq.range_init.activation.extremes import MaxActivationRange, MeanMaxActivationRange, MovingMaxActivationRange
from nncf_mcq.range_init.activation.mse import MseActivationRange
from nncf_mcq.range_init.activation.percentile import PercentileActivationRange
from nncf_mcq.range_init.activation.ranges import activation_ranges, relative_error

__all__ = [
    "ActivationRangeInitializer",
    "ActivationRangeTask",
    "AutomaticActivationRange",
    "MaxActivationRange",
    "MeanMaxActivationRange",
    "MovingMaxActivationRange",
    "MseActivationRange",
    "PercentileActivationRange",
    "activation_ranges",
    "relative_error",
]
