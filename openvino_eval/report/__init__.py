"""One HTML file that shows comparisons, runs and contests; it loads nothing from outside."""

from nncf_mcq.utils import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
