"""From a policy to an IR: packed weights, exact activation grids, verification after reload."""

from nncf_mcq.utils.lazy_exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
