"""The stages of a quantization, from a float model to its final weights."""

from nncf_mcq.pipeline.preparation import Preparation

__all__ = ["Preparation"]
