"""Where the time of an inference goes, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nncf_mcq.latency import node_times
from openvino_eval.layers import runtime_layers
from openvino_eval.options import DEFAULT_THREADS
from openvino_eval.runtime import evaluation_errors, read_and_compile

RUNS: Final = 5


@dataclass(frozen=True)
class LayerTime:
    """One node of the compiled graph.

    Attributes:
        name: The plugin's name of it.
        layer_type: The plugin's type, e.g. `Convolution`.
        precision: What it runs in, e.g. `u8`.
        milliseconds: The smallest of the means of several runs: what disturbs the machine makes some of them longer,
            and none shorter.
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
        seconds: How long it runs, in `RUNS` parts.

    Returns:
        Nodes that take time, the slowest first.

    Raises:
        EvaluationError: The model cannot be read, compiled or run.
    """
    found: dict[str, float] = {}
    # A counter is the mean over all inferences of a compiled model, those that were disturbed among them.
    for _ in range(RUNS):
        compiled = read_and_compile(path, threads=threads, counts_time=True)
        with evaluation_errors(str(path)):
            for name, milliseconds in node_times(compiled, seconds=seconds / RUNS).items():
                found[name] = min(found.get(name, milliseconds), milliseconds)
    layers = {layer.name: layer for layer in runtime_layers(compiled)}
    times = [
        LayerTime(name, layer.layer_type, layer.precision, milliseconds, layer.original_names)
        for name, milliseconds in found.items()
        if (layer := layers.get(name)) is not None and milliseconds > 0
    ]
    return sorted(times, key=lambda item: -item.milliseconds)
