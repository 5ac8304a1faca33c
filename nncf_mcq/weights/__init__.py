"""Quantized weights: rounding, correction, the weight table and the sequential pass."""

from nncf_mcq.weights.weight_table import WeightTable

__all__ = ["WeightTable"]
