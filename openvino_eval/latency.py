"""Latency of several models, measured in turns so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from openvino_eval.errors import EvaluationError
from openvino_eval.runtime import DEFAULT_THREADS, Precision, compile_model

_WARM_UP_INFERENCES = 5


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
    requests = {
        name: _prepare(name, path, threads, by_name[name] or Precision.F32, (inputs or {}).get(name), seed)
        for name, path in models.items()
    }
    for request in requests.values():
        for _ in range(_WARM_UP_INFERENCES):
            request.infer()

    turns: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in models}
    names = list(models)
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            turns[name].append(_run_for(requests[name], seconds))
    return {name: _summarize(turns[name], turns[names[0]]) for name in names}


def _prepare(
    name: str,
    path: Path,
    threads: int,
    precision: Precision,
    given: npt.NDArray[np.float32] | None,
    seed: int,
) -> ov.InferRequest:
    compiled = compile_model(path, threads=threads, precision=precision)
    if given is not None and len(compiled.inputs) != 1:
        raise EvaluationError(f"{name}: has {len(compiled.inputs)} inputs, an input can be given only for one")
    request = compiled.create_infer_request()
    generator = np.random.default_rng(seed)
    for port in compiled.inputs:
        shape = port.get_partial_shape()
        if given is None and shape.is_dynamic:
            raise EvaluationError(f"{name}: input shape {shape} is dynamic, give an input or reshape the model")
        if given is not None and not shape.compatible(ov.PartialShape(list(given.shape))):
            raise EvaluationError(f"{name}: the given input is {list(given.shape)}, the model takes {shape}")
        values = generator.standard_normal(tuple(shape.to_shape())) if given is None else given
        # A copy of its own: the request keeps a pointer, and one array must not serve two models.
        tensor = ov.Tensor(port.get_element_type(), ov.Shape(list(values.shape)))
        tensor.data[...] = values.astype(tensor.data.dtype)
        request.set_tensor(port, tensor)
    return request


def _run_for(request: ov.InferRequest, seconds: float) -> npt.NDArray[np.float64]:
    """Times of single inferences in milliseconds, at least one."""
    times: list[float] = []
    # Called once untimed: after the other models' turns the caches hold their weights.
    request.infer(share_outputs=True)
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        request.infer(share_outputs=True)
        now = time.perf_counter()
        times.append((now - start) * 1e3)
        if now >= end:
            return np.asarray(times)


def _summarize(turns: list[npt.NDArray[np.float64]], baseline: list[npt.NDArray[np.float64]]) -> LatencyResult:
    times = np.concatenate(turns)
    ratios = [np.median(own) / np.median(first) for own, first in zip(turns, baseline, strict=True)]
    low, ratio, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
    return LatencyResult(
        median_ms=float(np.median(times)),
        p10_ms=float(np.percentile(times, 10)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        inferences=len(times),
        rounds=len(turns),
    )
