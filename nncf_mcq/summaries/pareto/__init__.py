"""A front of file size against loss: for the terminal, as a picture, and as a page."""

from nncf_mcq.utils.lazy_exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
