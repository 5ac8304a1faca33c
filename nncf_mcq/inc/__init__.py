"""The algorithm for users of Intel Neural Compressor: to import it is to register it there as `mixed_clipping`."""

try:
    import neural_compressor.torch.quantization as _host
except ImportError as error:
    raise ImportError(
        "nncf_mcq.inc needs Intel Neural Compressor 3.10 or newer: pip install neural-compressor-pt"
    ) from error

from nncf_mcq.inc.config import MixedClippingConfig
from nncf_mcq.inc.quantized_module import QuantizedModule
from nncf_mcq.inc.quantizer import mixed_clipping_entry

__all__ = ["MixedClippingConfig", "QuantizedModule", "mixed_clipping_entry"]

del _host
