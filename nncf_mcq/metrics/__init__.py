"""Metrics against labels, and distances from the float outputs."""

# Registers its metrics, so that every reader of `METRICS` finds them.
from nncf_mcq.metrics import average_precision as average_precision
from nncf_mcq.metrics.metrics import METRICS, is_classifier, label_free_metrics, stack_targets
from nncf_mcq.metrics.names import METRIC_NAMES, SHARES, metric_heading, metric_name, metric_value

__all__ = [
    "METRICS",
    "METRIC_NAMES",
    "SHARES",
    "is_classifier",
    "label_free_metrics",
    "metric_heading",
    "metric_name",
    "metric_value",
    "stack_targets",
]
