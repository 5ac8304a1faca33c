from nncf_mcq.latency.cache import check_precision, default_file, find_table, latency_key
from nncf_mcq.latency.clock import (
    TimedModel,
    Times,
    interleaved_times,
    measure_interleaved,
    measure_ratio,
    ratio_quartiles,
)
from nncf_mcq.latency.inputs import random_inputs
from nncf_mcq.latency.measure import measure_table
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.profile import node_times
from nncf_mcq.latency.table import LatencyKey, LatencyTable, LayerLatency, PrecisionConversion

__all__ = [
    "LatencyKey",
    "LatencyModels",
    "LatencyTable",
    "LayerLatency",
    "PrecisionConversion",
    "TimedModel",
    "Times",
    "check_precision",
    "default_file",
    "find_table",
    "interleaved_times",
    "latency_key",
    "measure_interleaved",
    "measure_ratio",
    "measure_table",
    "node_times",
    "random_inputs",
    "ratio_quartiles",
]
