"""The time of each node of a compiled model, by the plugin's own counters."""

from __future__ import annotations

import time
from collections.abc import Sequence

import openvino as ov

from nncf_mcq.latency.inputs import random_inputs
from nncf_mcq.model.inference import compile_model

_INSTANCES = 5
_WARM_UP, _INFERENCES = 3, 5


def time_shares(model: ov.Model, names: Sequence[str], threads: int) -> dict[str, float]:
    """Layer name to its share of the model's time, 0 to 1; 0 for one that the plugin runs under another name.

    Args:
        model: The model.
        names: Names of layers.
        threads: Inference threads.
    """
    best: dict[str, float] = {}
    # A counter is the mean over all inferences of a compiled model, those that were disturbed among them.
    for _ in range(_INSTANCES):
        for name, milliseconds in node_times(compile_model(model, threads, counts_time=True)).items():
            best[name] = min(best.get(name, milliseconds), milliseconds)
    total = max(sum(best.values()), 1e-12)
    return {name: best.get(name, 0.0) / total for name in names}


def node_times(compiled: ov.CompiledModel, *, seconds: float = 0.0) -> dict[str, float]:
    """Runs a model on random inputs and reads the plugin's counters.

    Counting costs time itself: the sum is more than the latency of the model, the shares are what to look at.

    Args:
        compiled: A model with static shapes, compiled to count time, that has not run.
        seconds: How long it runs; at least `_INFERENCES` times.

    Returns:
        The plugin's name of each node to its mean milliseconds in the inferences that follow the warm-up.
    """
    request = compiled.create_infer_request()
    inputs = random_inputs(compiled.inputs)

    def run() -> None:
        request.infer(inputs, share_inputs=True, share_outputs=True)

    for _ in range(_WARM_UP):
        run()
    warm_up = _summed_times(request, _WARM_UP)
    start, done = time.perf_counter(), 0
    while done < _INFERENCES or time.perf_counter() - start < seconds:
        run()
        done += 1
    return {
        name: max(value - warm_up[name], 0.0) / done for name, value in _summed_times(request, _WARM_UP + done).items()
    }


def _summed_times(request: ov.InferRequest, inferences: int) -> dict[str, float]:
    """The plugin's names of nodes to their milliseconds, summed over all inferences so far.

    The plugin's counters are the means of all these inferences, not the times of the last one.
    """
    return {node.node_name: node.real_time.total_seconds() * 1e3 * inferences for node in request.profiling_info}
