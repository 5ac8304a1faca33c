"""A recipe's model quantized in several ways, and the files compared: what `recipes/compare.py` runs."""

from nncf_mcq.utils import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
