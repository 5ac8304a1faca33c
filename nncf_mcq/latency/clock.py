"""Times of models that are run in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.latency.models import random_input
from nncf_mcq.model.inference import FloatPrecision, compile_properties, core

_WARM_UP, _INFERENCES = 3, 7
_INSTANCES = 3
_QUANTILE = 25
"""Of the times of a model: what disturbs the machine makes some inferences longer, and none shorter."""


class TimedModel:
    """A compiled model with an input.

    With one thread OpenVINO works in the caller's thread, and its processor time is taken: on a machine that does
    nothing else that is the latency, and on another one it leaves out the time in which others ran. With more threads
    it is the time of the clock.

    Args:
        model: The model.
        threads: Inference threads.
        precision: What float layers run in.
    """

    def __init__(self, model: ov.Model, threads: int, precision: FloatPrecision) -> None:
        compiled = core().compile_model(model, "CPU", compile_properties(threads, precision))
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(ov.Tensor(random_input(model)))
        self._now = time.thread_time if threads == 1 else time.perf_counter
        for _ in range(_WARM_UP):
            self._request.infer()

    def run(self) -> float:
        """Milliseconds of one inference."""
        start = self._now()
        self._request.infer()
        return (self._now() - start) * 1e3


def measure_in_turns(models: Mapping[str, TimedModel], seconds: float) -> dict[str, float]:
    """Milliseconds of one inference of each model, all measured at the same time.

    Args:
        models: By any names.
        seconds: What all inferences should take together; there are at least `_INFERENCES` of each model.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    taken, turns = 0.0, 0
    while taken < seconds * 1e3 or turns < _INFERENCES:
        for name, model in models.items():
            times[name].append(model.run())
            taken += times[name][-1]
        turns += 1
    return {name: quiet(np.array(values)) for name, values in times.items()}


def measure_ratio(
    models: Mapping[str, ov.Model], base: str, threads: int, precision: FloatPrecision, seconds: float
) -> dict[str, float]:
    """How long models take relative to one of them.

    Each is compiled several times: one in memory that suits it may be some percent faster than the same elsewhere.

    Args:
        models: By any names.
        base: Name of the one that the others are compared with.
        threads: Inference threads.
        precision: What float layers run in.
        seconds: What all inferences should take together.
    """
    timed = {
        f"{name} {number}": TimedModel(model, threads, precision)
        for number in range(_INSTANCES)
        for name, model in models.items()
    }
    times = measure_in_turns(timed, seconds)
    means = {name: float(np.mean([times[f"{name} {number}"] for number in range(_INSTANCES)])) for name in models}
    return {name: value / means[base] for name, value in means.items()}


def quiet(times: NDArray[np.float64]) -> float:
    """What an inference takes where nothing disturbs it, as far as times can tell.

    Args:
        times: Of single inferences.
    """
    return float(np.percentile(times, _QUANTILE))
