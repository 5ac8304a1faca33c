"""The stopwatch: models that run interleaved, and statistics of their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.latency.inputs import random_inputs
from nncf_mcq.model.inference import FloatPrecision, compile_model

Times: TypeAlias = NDArray[np.float64]
"""Milliseconds of single inferences."""

_WARM_UP, _INFERENCES = 5, 7
_INSTANCES = 3
_QUANTILE = 25
"""Of the times of a model: what disturbs the machine makes some inferences longer, and none shorter."""


class TimedModel:
    """A compiled model with inputs.

    Args:
        compiled: The model; static input shapes where no inputs are given.
        inputs: One array for each input; random values by default.
        clock: Seconds; that of the wall by default.
    """

    def __init__(
        self,
        compiled: ov.CompiledModel,
        inputs: Sequence[NDArray[np.generic]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._request = compiled.create_infer_request()
        self._clock = clock
        values = random_inputs(compiled.inputs) if inputs is None else inputs
        for port, value in zip(compiled.inputs, values, strict=True):
            # Copies of its own: a request keeps a pointer, and one array must not serve two models.
            tensor = ov.Tensor(port.get_element_type(), ov.Shape(list(value.shape)))
            tensor.data[...] = value
            self._request.set_tensor(port, tensor)
        for _ in range(_WARM_UP):
            self.infer()

    @classmethod
    def compile(cls, model: ov.Model, threads: int, precision: FloatPrecision) -> TimedModel:
        """Compiles a model, to be timed by the clock that disturbances reach least.

        With one thread OpenVINO works in the caller's thread, and its processor time is taken: on a machine that does
        nothing else that is the latency, and on another one it leaves out the time in which others ran. With more
        threads it is the time of the wall clock.

        Args:
            model: The model.
            threads: Inference threads.
            precision: The precision of float layers.
        """
        clock = time.thread_time if threads == 1 else time.perf_counter
        return cls(compile_model(model, threads, precision), clock=clock)

    def infer(self) -> None:
        """One inference."""
        self._request.infer(share_outputs=True)

    def run(self) -> float:
        """Milliseconds of one inference."""
        start = self._clock()
        self.infer()
        return (self._clock() - start) * 1e3

    def run_for(self, seconds: float) -> Times:
        """Milliseconds of each inference of a turn, at least one.

        Args:
            seconds: Length of the turn by the wall clock.
        """
        # Once untimed: after the other models' turns the caches hold their weights.
        self.infer()
        times, end = [self.run()], time.perf_counter() + seconds
        while time.perf_counter() < end:
            times.append(self.run())
        return np.array(times)


def interleaved_times(
    models: Mapping[str, TimedModel], rounds: int, *, seconds: float = 0.0, turn: float | None = None
) -> dict[str, list[Times]]:
    """Runs models interleaved, so that what disturbs the machine disturbs all of them alike.

    Args:
        models: By any names.
        rounds: Smallest number of rounds, 1 or more; each model has its turn in each of them.
        seconds: Time of all timed inferences together before which no round is the last.
        turn: Seconds of a turn; None for single inferences. Turns rotate by one each round, so that no model always
            runs after the same neighbour; single inferences do not, since one that follows another of the same model
            finds its weights in the caches.

    Returns:
        Name to the times of each round.
    """
    names = list(models)
    times: dict[str, list[Times]] = {name: [] for name in names}
    taken, done = 0.0, 0
    while done < rounds or taken < seconds * 1e3:
        start = 0 if turn is None else done % len(names)
        for name in names[start:] + names[:start]:
            found = np.array([models[name].run()]) if turn is None else models[name].run_for(turn)
            times[name].append(found)
            taken += float(found.sum())
        done += 1
    return times


def measure_interleaved(models: Mapping[str, TimedModel], seconds: float) -> dict[str, float]:
    """Milliseconds of one inference of each model on a quiet machine, all measured at the same time.

    Args:
        models: By any names.
        seconds: What all inferences should take together; there are at least `_INFERENCES` of each model.
    """
    times = interleaved_times(models, _INFERENCES, seconds=seconds)
    return {name: quiet(np.concatenate(rounds)) for name, rounds in times.items()}


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
        f"{name} {number}": TimedModel.compile(model, threads, precision)
        for number in range(_INSTANCES)
        for name, model in models.items()
    }
    times = measure_interleaved(timed, seconds)
    means = {name: float(np.mean([times[f"{name} {number}"] for number in range(_INSTANCES)])) for name in models}
    return {name: value / means[base] for name, value in means.items()}


def quiet(times: Times) -> float:
    """The time of an inference where nothing disturbs it, as far as times can tell.

    Args:
        times: Of single inferences.
    """
    return float(np.percentile(times, _QUANTILE))


def ratio_quartiles(rounds: Sequence[Times], base: Sequence[Times]) -> tuple[float, float, float]:
    """Quartiles over the rounds of the ratio of two models' medians in the same round: low, median, high.

    Args:
        rounds: The times of a model in each round.
        base: Those of the model that it is compared with.
    """
    ratios = [np.median(own) / np.median(other) for own, other in zip(rounds, base, strict=True)]
    low, middle, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
    return low, middle, high
