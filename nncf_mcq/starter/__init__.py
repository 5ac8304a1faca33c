"""A first configuration from what a newcomer has: a model and a folder of images. Nothing is guessed in silence."""

from nncf_mcq.utils.lazy_exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
