"""What the layers of a model take in int8 and in floating point, on this machine."""

from nncf_mcq.latency.cache import check_precision, default_file, find_table, latency_key
from nncf_mcq.latency.clock import TimedModel, measure_in_turns, measure_ratio
from nncf_mcq.latency.measure import measure_table
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.table import LatencyKey, LatencyTable, LayerLatency, PrecisionConversion

__all__ = [
    "LatencyKey",
    "LatencyModels",
    "LatencyTable",
    "LayerLatency",
    "PrecisionConversion",
    "TimedModel",
    "check_precision",
    "default_file",
    "find_table",
    "latency_key",
    "measure_in_turns",
    "measure_ratio",
    "measure_table",
]
