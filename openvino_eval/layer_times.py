"""Where the time of an inference goes, layer by layer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from nncf_mcq.model.inference import core, node_milliseconds
from openvino_eval.errors import EvaluationError, last_line
from openvino_eval.layers import runtime_layers
from openvino_eval.runtime import DEFAULT_THREADS, Precision, properties, read_model

_WARM_UP = 3


@dataclass(frozen=True)
class LayerTime:
    """One node of the compiled graph.

    Attributes:
        name: The plugin's name of it.
        layer_type: The plugin's type, e.g. `Convolution`.
        precision: What it runs in, e.g. `u8`.
        milliseconds: Mean over the inferences.
        original_names: The model's operations that were fused into it.
    """

    name: str
    layer_type: str
    precision: str
    milliseconds: float
    original_names: tuple[str, ...] = ()


def measure_layer_times(path: Path, *, threads: int = DEFAULT_THREADS, seconds: float = 0.5) -> list[LayerTime]:
    """Run a model on noise and take the time of each layer.

    Counting costs time itself: the sum is more than the latency of the model, the shares are what to look at.

    Args:
        path: The file of a model with static shapes.
        threads: Inference threads.
        seconds: How long it runs.

    Returns:
        Nodes that take time, the slowest first.

    Raises:
        EvaluationError: The model cannot be read, compiled or run.
    """
    model = read_model(path)
    try:
        compiled = core().compile_model(model, "CPU", {**properties(threads, Precision.F32), "PERF_COUNT": True})
        request = compiled.create_infer_request()
        inputs = [_noise(port) for port in compiled.inputs]
        for _ in range(_WARM_UP):
            request.infer(inputs)
        warm_up = node_milliseconds(request, _WARM_UP)
        start, done = time.perf_counter(), 0
        while done < _WARM_UP or time.perf_counter() - start < seconds:
            request.infer(inputs)
            done += 1
        whole = node_milliseconds(request, _WARM_UP + done)
        found = {name: max(value - warm_up[name], 0.0) / done for name, value in whole.items()}
    except RuntimeError as error:
        raise EvaluationError(f"{path}: OpenVINO cannot run it: {last_line(error)}") from error
    layers = {layer.name: layer for layer in runtime_layers(compiled)}
    times = [
        LayerTime(name, layer.layer_type, layer.precision, milliseconds, layer.original_names)
        for name, milliseconds in found.items()
        if (layer := layers.get(name)) is not None and milliseconds > 0
    ]
    return sorted(times, key=lambda item: -item.milliseconds)


def _noise(port: ov.Output) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(tuple(port.get_shape()))
    return values.astype(port.get_element_type().to_dtype())
