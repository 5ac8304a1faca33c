"""Fine-tuning: a quantized model as a PyTorch module that trains in any loop, and back."""

from nncf_mcq.utils.lazy_exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
