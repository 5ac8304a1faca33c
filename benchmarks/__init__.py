"""Measurements for the documentation: what each part of the quantizer gains, and how fast it is."""
