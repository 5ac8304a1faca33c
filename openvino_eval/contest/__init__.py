"""The contest of the search methods: the same model, images, scores and budget of evaluations for all."""

from nncf_mcq.utils import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
