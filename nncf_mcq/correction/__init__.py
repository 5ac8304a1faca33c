"""Corrections without which low bits collapse: rounding, bias and gain."""
