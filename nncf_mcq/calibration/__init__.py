"""Calibration: statistics of activations, shrinkage and Fisher information."""

from nncf_mcq.calibration.images import collect_images

__all__ = ["collect_images"]
