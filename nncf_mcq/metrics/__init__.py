"""Metrics against labels, and distances from the float outputs."""

# Registers its metrics, so that every reader of `METRICS` finds them.
from nncf_mcq.metrics import average_precision as average_precision
from nncf_mcq.metrics import points as points
from nncf_mcq.metrics import segmentation as segmentation
from nncf_mcq.metrics.metrics import METRICS, is_classifier, label_free_metrics, stack_targets
from nncf_mcq.metrics.names import (
    LOWER_IS_BETTER,
    METRIC_NAMES,
    SHARES,
    TO_FLOAT,
    is_to_float,
    metric_figure,
    metric_heading,
    metric_name,
    metric_value,
)
from nncf_mcq.metrics.quality import output_closeness

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "METRIC_NAMES",
    "SHARES",
    "TO_FLOAT",
    "is_classifier",
    "is_to_float",
    "label_free_metrics",
    "metric_figure",
    "metric_heading",
    "metric_name",
    "metric_value",
    "output_closeness",
    "stack_targets",
]
