from nncf_mcq.ir.export import RT_INFO_SECTION
from nncf_mcq.ir.float_causes import WEIGHTS_NOT_QUANTIZED, float_cause, float_sentences
from nncf_mcq.ir.runtime_graph import runtime_layers, runtime_precisions, text_of

__all__ = [
    "RT_INFO_SECTION",
    "WEIGHTS_NOT_QUANTIZED",
    "float_cause",
    "float_sentences",
    "runtime_layers",
    "runtime_precisions",
    "text_of",
]
