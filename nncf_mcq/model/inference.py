"""How models are run here: one place for the properties that make results exact and repeatable."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError

Item = TypeVar("Item")
Result = TypeVar("Result")


@functools.cache
def core() -> ov.Core:
    """The one OpenVINO core of this process.

    The CPU plugin of each core gives the thread that makes it another stack for signal handlers, and restores the one
    before when it is freed. Cores that are not freed in the reverse order of their making leave a stack that is freed
    already: Ctrl-C is then a segmentation fault. This core is never freed.
    """
    return ov.Core()


def processor_name() -> str:
    """What OpenVINO calls this machine's processor."""
    return str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def has_bf16() -> bool:
    """Whether this machine's processor computes in bf16; where it does not, OpenVINO silently takes f32."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


FloatPrecision = Literal["f32", "bf16"]
"""What layers that are not quantized run in."""


def compile_properties(threads: int, precision: FloatPrecision = "f32") -> dict[str, Any]:
    """CPU properties of every measurement.

    f32 is pinned because the default on recent CPUs is bf16, which changes float layers; dynamic quantization is off
    because it re-quantizes the inputs of compressed fully connected layers.
    """
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }


def node_milliseconds(request: ov.InferRequest, inferences: int) -> dict[str, float]:
    """The plugin's names of nodes to their time, summed over all inferences so far; needs the property PERF_COUNT.

    The plugin's counters are the means of all these inferences, not the times of the last one.

    Args:
        request: The only one of its compiled model.
        inferences: How often it ran.
    """
    return {node.node_name: node.real_time.total_seconds() * 1e3 * inferences for node in request.profiling_info}


def compile_model(model: ov.Model, threads: int) -> ov.CompiledModel:
    """Compiles for the CPU with the pinned properties."""
    return core().compile_model(model, "CPU", compile_properties(threads))


def with_batch(model: ov.Model, batch_size: int) -> ov.Model:
    """A copy of the model for another batch size.

    Raises:
        QuantizationError: The model cannot be reshaped, e.g. a Reshape fixes its batch.
    """
    copy = model.clone()
    shapes = {}
    for port in copy.inputs:
        shape = port.get_partial_shape()
        shapes[port] = ov.PartialShape([batch_size, *list(shape)[1:]])
    try:
        copy.reshape(shapes)
    except RuntimeError as error:
        raise QuantizationError(f"the model cannot be run with batch size {batch_size}") from error
    return copy


def run(model: ov.Model, images: NDArray[np.float32], *, threads: int, batch_size: int) -> NDArray[np.float32]:
    """First output of the model over all images.

    Args:
        model: Model with one input.
        images: (N, ...) inputs.
        threads: Inference threads.
        batch_size: Images per inference.

    Returns:
        (N, ...) outputs.
    """
    compiled = compile_model(with_batch(model, batch_size), threads)
    outputs: list[NDArray[np.float32]] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        count = len(batch)
        if count < batch_size:
            # Compiling for the size of the last batch would cost more than running a full one.
            batch = np.concatenate([batch, np.repeat(batch[-1:], batch_size - count, axis=0)])
        outputs.append(np.array(compiled(batch)[0])[:count])
    return np.concatenate(outputs)


def predict(compiled: ov.CompiledModel, inputs: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """First output of a compiled model for inputs that come one at a time, stacked.

    Raises:
        QuantizationError: There is no input.
    """
    outputs = [np.array(compiled(item)[0]) for item in inputs]
    if not outputs:
        raise QuantizationError("the data set is empty: give at least one image")
    return np.concatenate(outputs)
