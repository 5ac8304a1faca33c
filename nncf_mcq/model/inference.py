"""How models are compiled here: one place for the properties that make results exact and repeatable."""

from __future__ import annotations

import functools
from typing import Any, Literal

import openvino as ov

from nncf_mcq.errors import QuantizationError
from nncf_mcq.utils.messages import last_line


@functools.cache
def core() -> ov.Core:
    """The one OpenVINO core of this process.

    The CPU plugin of each core gives the thread that makes it another stack for signal handlers, and restores the one
    before when it is freed. Cores that are not freed in the reverse order of their making leave a stack that is freed
    already: Ctrl-C is then a segmentation fault. This core is never freed.
    """
    return ov.Core()


def processor_name() -> str:
    """Name of this machine's processor, by OpenVINO."""
    return str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def has_bf16() -> bool:
    """Whether this machine's processor computes in bf16; where it does not, OpenVINO silently takes f32."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


DYNAMIC_QUANTIZATION_GROUP = "32"
"""How many inputs of a layer with compressed weights share a scale: the plugin's default, which users measure with."""

DYNAMIC_QUANTIZATION_PATH = ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"]
"""Where the plugin looks for it in the rt_info of a model that is compiled without that property."""

FloatPrecision = Literal["f32", "bf16"]
"""Precision of layers that are not quantized."""


def compile_properties(threads: int, precision: FloatPrecision = "f32", streams: int = 1) -> dict[str, Any]:
    """CPU properties of every measurement.

    f32 is pinned because the default on recent CPUs is bf16, which changes float layers; the group of dynamic
    quantization because it changes the outputs of fully connected layers with compressed weights.

    Args:
        threads: Inference threads, of all streams together.
        precision: The precision of float layers.
        streams: Inferences that run side by side.
    """
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": DYNAMIC_QUANTIZATION_GROUP,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
    }


def compile_model(
    model: ov.Model, threads: int, precision: FloatPrecision = "f32", *, streams: int = 1, counts_time: bool = False
) -> ov.CompiledModel:
    """Compiles for the CPU with the pinned properties.

    Args:
        model: The model.
        threads: Inference threads, of all streams together.
        precision: The precision of float layers.
        streams: Inferences that run side by side.
        counts_time: Whether the plugin takes the time of each node, which costs time itself.

    Raises:
        QuantizationError: OpenVINO cannot compile the model.
    """
    properties = compile_properties(threads, precision, streams) | ({"PERF_COUNT": True} if counts_time else {})
    try:
        return core().compile_model(model, "CPU", properties)
    except RuntimeError as error:
        raise QuantizationError(f"OpenVINO cannot compile {model.get_friendly_name()}: {last_line(error)}") from error


def with_batch(model: ov.Model, batch_size: int) -> ov.Model:
    """A copy of the model for another batch size.

    Args:
        model: A model with the batch in the first dimension of each input.
        batch_size: Samples per inference. A sample is a full tensor of the model's own shape for each input: a model
            of a batch of 4 is reshaped to one of 8 for a batch size of 2. An open first dimension is that of a batch.

    Raises:
        QuantizationError: The model cannot be reshaped, e.g. a Reshape fixes its batch.
    """
    copy = model.clone()
    shapes = {}
    for port in copy.inputs:
        shape = port.get_partial_shape()
        if shape.rank.is_dynamic or not len(shape):
            if batch_size > 1:
                raise QuantizationError(f"the model cannot be run with batch size {batch_size}: an input has no batch")
            continue
        rows = 1 if shape[0].is_dynamic else shape[0].get_length()
        shapes[port] = ov.PartialShape([batch_size * rows, *list(shape)[1:]])
    try:
        copy.reshape(shapes)
    except RuntimeError as error:
        raise QuantizationError(f"the model cannot be run with batch size {batch_size}: {last_line(error)}") from error
    return copy
