from nncf_mcq.model.inference import (
    FloatPrecision,
    compile_model,
    compile_properties,
    core,
    has_bf16,
    processor_name,
)
from nncf_mcq.model.int8 import quantize_int8
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.runner import ModelRunner, samples_per_chunk
from nncf_mcq.model.samples import in_order, to_array
from nncf_mcq.policy import INT8_PRECISIONS, INTEGER_PRECISIONS

__all__ = [
    "INT8_PRECISIONS",
    "INTEGER_PRECISIONS",
    "FloatPrecision",
    "ModelRunner",
    "compile_model",
    "compile_properties",
    "core",
    "find_layers",
    "has_bf16",
    "in_order",
    "processor_name",
    "quantize_int8",
    "samples_per_chunk",
    "to_array",
]
