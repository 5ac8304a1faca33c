"""The float model: loading, the layers that NNCF would quantize, and how models are run."""

from nncf_mcq.model.inference import (
    INT8_PRECISIONS,
    FloatPrecision,
    compile_model,
    compile_properties,
    core,
    has_bf16,
    processor_name,
)
from nncf_mcq.model.runner import ModelRunner, samples_per_chunk

__all__ = [
    "INT8_PRECISIONS",
    "FloatPrecision",
    "ModelRunner",
    "compile_model",
    "compile_properties",
    "core",
    "has_bf16",
    "processor_name",
    "samples_per_chunk",
]
