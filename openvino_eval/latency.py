"""Latency of several models, interleaved so that disturbances of the machine affect all of them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_mcq.latency import TimedModel, Times, interleaved_times, random_inputs, ratio_quartiles
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Precision
from openvino_eval.runtime import evaluation_errors, read_and_compile


@dataclass(frozen=True)
class LatencyResult:
    """Latency of one model.

    Attributes:
        median_ms: Median over all inferences, in milliseconds.
        p10_ms: 10th percentile in milliseconds: what the model takes on a quiet machine.
        ratio: Median over the rounds of (this model's median / the first model's median); 1 for the first model.
        ratio_low: Lower quartile of that ratio over the rounds.
        ratio_high: Upper quartile.
        inferences: Timed inferences.
        rounds: Rounds.
    """

    median_ms: float
    p10_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    inferences: int
    rounds: int


def measure_latency(
    models: Mapping[str, Path],
    *,
    threads: int = DEFAULT_THREADS,
    rounds: int = 15,
    seconds: float = 0.2,
    precision: Precision | Mapping[str, Precision] = Precision.F32,
    inputs: Mapping[str, npt.NDArray[np.float32]] | None = None,
    seed: int = 0,
) -> dict[str, LatencyResult]:
    """Measure models in interleaved rounds, in one process.

    Every round runs each model once for `seconds`; the order rotates by one each round, so that no model always runs
    after the same neighbour.

    Args:
        models: Name -> model file; the first is what ratios refer to. One file may stand under several names.
        threads: Inference threads.
        rounds: How often every model has its turn, at least 1.
        seconds: Length of one turn.
        precision: What float layers run in, for all models or by name (f32 where missing).
        inputs: Name -> the image input (batch, channels, height, width); random normal values where missing.
        seed: Of the random inputs; models with the same input shape get the same values.

    Returns:
        Name -> result, in the order of `models`.

    Raises:
        EvaluationError: No model, fewer than one round, or a model that cannot be read, compiled or fed.
    """
    if not models:
        raise EvaluationError("no model to measure")
    if rounds < 1 or seconds <= 0:
        raise EvaluationError(f"found {rounds} rounds of {seconds} s, allowed: 1 or more rounds, more than 0 s")
    by_name = {name: precision if isinstance(precision, Precision) else precision.get(name) for name in models}
    timed = {
        name: _prepare(name, path, threads, by_name[name] or Precision.F32, (inputs or {}).get(name), seed)
        for name, path in models.items()
    }
    times = interleaved_times(timed, rounds, turn=seconds)
    first = times[next(iter(times))]
    return {name: _summarize(found, first) for name, found in times.items()}


def _prepare(
    name: str,
    path: Path,
    threads: int,
    precision: Precision,
    given: npt.NDArray[np.float32] | None,
    seed: int,
) -> TimedModel:
    compiled = read_and_compile(path, threads=threads, precision=precision)
    if given is not None and len(compiled.inputs) != 1:
        raise EvaluationError(f"{name}: has {len(compiled.inputs)} inputs, an input can be given only for one")
    for port in compiled.inputs:
        shape = port.get_partial_shape()
        if given is None and shape.is_dynamic:
            raise EvaluationError(f"{name}: input shape {shape} is dynamic, give an input or reshape the model")
        if given is not None and not shape.compatible(ov.PartialShape(list(given.shape))):
            raise EvaluationError(f"{name}: the given input is {list(given.shape)}, the model takes {shape}")
    with evaluation_errors(name):
        return TimedModel(compiled, random_inputs(compiled.inputs, seed) if given is None else [given])


def _summarize(rounds: Sequence[Times], base: Sequence[Times]) -> LatencyResult:
    times = np.concatenate(rounds)
    low, ratio, high = ratio_quartiles(rounds, base)
    return LatencyResult(
        median_ms=float(np.median(times)),
        p10_ms=float(np.percentile(times, 10)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        inferences=len(times),
        rounds=len(rounds),
    )
