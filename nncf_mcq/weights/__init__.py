"""Quantized weights: rounding, correction, the weight table and the sequential pass."""
