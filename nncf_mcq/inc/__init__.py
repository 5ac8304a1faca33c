"""The algorithm for users of Intel Neural Compressor: to import it is to register it there as `mixed_clipping`."""

from nncf_mcq.inc.hooks import check_inc

check_inc()

from nncf_mcq.inc.config import MixedClippingConfig
from nncf_mcq.inc.quantized_module import QuantizedModule
from nncf_mcq.inc.quantizer import mixed_clipping_entry

__all__ = ["MixedClippingConfig", "QuantizedModule", "mixed_clipping_entry"]
