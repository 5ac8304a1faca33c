"""Measure OpenVINO models, whoever made them: accuracy, latency, size, and what really runs on integers."""

from nncf_mcq.utils import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
