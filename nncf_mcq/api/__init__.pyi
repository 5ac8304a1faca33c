from nncf_mcq.api.front import pareto, pareto_normalized
from nncf_mcq.api.options import RunOptions
from nncf_mcq.api.quantization import quantize, quantize_normalized
from nncf_mcq.api.training import prepare_training

__all__ = ["RunOptions", "pareto", "pareto_normalized", "prepare_training", "quantize", "quantize_normalized"]
