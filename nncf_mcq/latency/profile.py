"""Which layers a model's time goes to, by the plugin's own counters."""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov

from nncf_mcq.latency.models import random_input
from nncf_mcq.model.inference import compile_properties, core, node_milliseconds

_INSTANCES = 5
_WARM_UP, _INFERENCES = 2, 5


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
        for name, milliseconds in _layer_times(model, threads).items():
            best[name] = min(best.get(name, milliseconds), milliseconds)
    total = max(sum(best.values()), 1e-12)
    return {name: best.get(name, 0.0) / total for name in names}


def _layer_times(model: ov.Model, threads: int) -> dict[str, float]:
    """The plugin's names of layers to the mean time of those inferences that follow the warm-up."""
    compiled = core().compile_model(model, "CPU", {**compile_properties(threads), "PERF_COUNT": True})
    request = compiled.create_infer_request()
    image = random_input(model)

    def sums(inferences: int, so_far: int) -> dict[str, float]:
        for _ in range(inferences):
            request.infer([image])
        return node_milliseconds(request, so_far + inferences)

    warm_up = sums(_WARM_UP, 0)
    whole = sums(_INFERENCES, _WARM_UP)
    return {name: max(value - warm_up[name], 0.0) / _INFERENCES for name, value in whole.items()}
