"""Metrics against labels, and distances from the float outputs."""

# Registers its metrics, so that every reader of `METRICS` finds them.
from nncf_mcq.metrics import average_precision as average_precision
