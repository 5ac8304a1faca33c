"""Mixed-precision quantization of convolutional networks for OpenVINO, as a plugin for NNCF."""

from nncf_mcq.utils.lazy_exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
