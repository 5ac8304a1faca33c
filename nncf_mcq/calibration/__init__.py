"""Calibration: statistics of activations, shrinkage and Fisher information."""
