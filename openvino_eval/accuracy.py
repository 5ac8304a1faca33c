"""Predictions of a model on a set of samples, and their scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_mcq import QuantizationError
from nncf_mcq.data import chunks, iterate_samples
from nncf_mcq.metrics import METRICS, is_classifier, label_free_metrics, stack_targets
from nncf_mcq.model import ModelRunner, in_order, samples_per_chunk, to_array
from nncf_mcq.utils import last_line
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Precision
from openvino_eval.runtime import check_threads, evaluation_errors, read_model
from openvino_eval.samples import Samples

Outputs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """One model on one set of samples.

    Attributes:
        outputs: float32 (samples, classes), the model's first output.
        targets: One target a sample: an array where all have one shape, otherwise a list.
        scores: Metric name -> value; with a reference also `agreement` and `kl`.
    """

    outputs: Outputs
    targets: Any
    scores: dict[str, float]


def evaluate_model(
    model: Path | ov.Model,
    samples: Samples,
    metrics: Iterable[str] = ("top1",),
    *,
    reference: Outputs | None = None,
    batch_size: int | None = None,
    threads: int = DEFAULT_THREADS,
    precision: Precision = Precision.F32,
) -> Evaluation:
    """Score a model.

    Args:
        model: A model, or the file of one.
        samples: Images and targets.
        metrics: Names of `nncf_mcq.metrics.METRICS`.
        reference: Outputs of another model on the same samples (samples, classes), to compare with.
        batch_size: Images an inference; None keeps the model's own batch (1 where that is dynamic).
        threads: Inference threads.
        precision: What float layers run in.

    Returns:
        Outputs, targets and scores.

    Raises:
        EvaluationError: An unknown metric, no samples, or a model that cannot run on them.
    """
    names = check_metrics(metrics)
    found = predict({"model": model}, samples, batch_size=batch_size, threads=threads, precisions={"model": precision})
    outputs = found.outputs["model"]
    scores = score(outputs, found.targets, names)
    if reference is not None:
        scores |= compare_outputs(outputs, reference)
    return Evaluation(outputs, found.targets, scores)


def score(outputs: Outputs, targets: Any, metrics: Iterable[str]) -> dict[str, float]:
    """Apply metrics by name.

    Args:
        outputs: float32 (samples, classes).
        targets: One a sample.
        metrics: Names of `nncf_mcq.metrics.METRICS`.

    Returns:
        Metric name -> value.

    Raises:
        EvaluationError: A name is unknown, or a metric cannot be applied to these outputs and targets.
    """
    scores = {}
    for name in check_metrics(metrics):
        try:
            scores[name] = float(METRICS[name](outputs, targets))
        except (AttributeError, ValueError, TypeError, IndexError) as error:
            message = f"metric {name}: cannot score outputs of shape {outputs.shape}: {last_line(error)}"
            raise EvaluationError(message) from error
    return scores


def check_metrics(metrics: Iterable[str]) -> list[str]:
    """The names as a list, so that a misspelled one fails before minutes of inference.

    Args:
        metrics: Names.

    Returns:
        The same names.

    Raises:
        EvaluationError: A name is unknown.
    """
    names = list(metrics)
    for name in names:
        if name not in METRICS:
            raise EvaluationError(f"metric: found {name!r}, allowed: {', '.join(sorted(METRICS))}")
    return names


def compare_outputs(outputs: Outputs, reference: Outputs) -> dict[str, float]:
    """How far one model's outputs are from another's: `label_free_metrics`, with errors of this package.

    Args:
        outputs: float32 (samples, classes).
        reference: float32 (samples, classes).

    Returns:
        `agreement`, the share of equal top-1 classes, and `kl`, the mean KL divergence from the reference in nats.

    Raises:
        EvaluationError: The shapes differ, or are not those of a classifier, or the reference is not finite.
    """
    if not is_classifier(reference):
        raise EvaluationError(f"outputs of shape {reference.shape} cannot be compared, needed: (samples, classes)")
    try:
        return label_free_metrics(outputs, reference)
    except ValueError as error:
        raise EvaluationError(f"outputs cannot be compared: {error}") from error


@dataclass(frozen=True)
class Predictions:
    """Predictions of several models on the same samples.

    Attributes:
        outputs: Name -> outputs (samples, ...).
        targets: One a sample: an array where all have one shape, otherwise a list.
        images_per_second: Name -> how fast it answered, without reading and decoding the images.
    """

    outputs: dict[str, Outputs]
    targets: Any
    images_per_second: dict[str, float]


def predict(
    models: Mapping[str, Path | ov.Model],
    samples: Samples,
    *,
    batch_size: int | None = None,
    threads: int = DEFAULT_THREADS,
    precisions: Mapping[str, Precision] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Predictions:
    """Run models over samples, reading (and decoding) each sample once.

    Each thread runs an inference of its own, as `benchmark_app` does for the throughput. Models take turns at pieces of
    the data set that fit into memory.

    Args:
        models: Name -> model, or the file of one.
        samples: Images and targets.
        batch_size: Images an inference; None keeps each model's own batch (1 where that is dynamic).
        threads: Inference threads.
        precisions: Name -> what float layers run in, f32 where missing.
        progress: Called after each sample and model.

    Returns:
        Outputs, targets and speed.

    Raises:
        EvaluationError: No samples, or a model that cannot run on them.
    """
    if len(samples) == 0:
        raise EvaluationError("no samples to evaluate on")
    first = samples[0][0]
    runners = {
        name: _Runner.make(name, model, first, batch_size, threads, (precisions or {}).get(name, Precision.F32))
        for name, model in models.items()
    }
    outputs: dict[str, list[Outputs]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    targets: list[Any] = []
    for inputs, chunk_targets in _chunks(samples, samples_per_chunk(item.runner for item in runners.values())):
        targets += chunk_targets
        for name, runner in runners.items():
            start = time.perf_counter()
            outputs[name].append(runner(inputs))
            seconds[name] += time.perf_counter() - start
            for _ in chunk_targets:
                progress()
    return Predictions(
        {name: np.concatenate(parts) for name, parts in outputs.items()},
        stack_targets(targets),
        {name: len(samples) / max(taken, 1e-9) for name, taken in seconds.items()},
    )


@dataclass(frozen=True)
class _Runner:
    """A model with all shapes fixed to those of the samples, run in parallel.

    Attributes:
        name: Of the model, for messages.
        runner: It.
        order: Number of the sample's input for each input of the model.
        ports: The inputs of the model.
    """

    name: str
    runner: ModelRunner
    order: tuple[int, ...]
    ports: Sequence[ov.Output]

    @classmethod
    def make(
        cls, name: str, model: Path | ov.Model, first: Any, batch_size: int | None, threads: int, precision: Precision
    ) -> _Runner:
        loaded = read_model(model) if isinstance(model, Path) else model.clone()
        order = _order(name, loaded, first)
        values = _as_tuple(first)
        inputs = [to_array(values[number], port) for number, port in zip(order, loaded.inputs, strict=True)]
        batch = _fix_shapes(name, loaded, [value.shape for value in inputs], batch_size)
        with evaluation_errors(name):
            runner = ModelRunner.compile(loaded, check_threads(threads), precision=precision.value, parallel=True)
            # The first inference of each request is slower.
            runner([np.repeat(value[None], runner.requests * batch, axis=0) for value in inputs])
        return cls(name, runner, order, loaded.inputs)

    def __call__(self, inputs: Sequence[npt.NDArray[Any]]) -> Outputs:
        """The first output (samples, ...) of the stacked inputs of samples."""
        with evaluation_errors(self.name):
            arrays = [to_array(inputs[number], port) for number, port in zip(self.order, self.ports, strict=True)]
            outputs = self.runner(arrays)[0]
        if len(outputs) != len(inputs[0]):
            found = f"{len(outputs)} outputs for {len(inputs[0])} samples"
            raise EvaluationError(
                f"{self.name}: found {found}, a batch of {self.runner.batch_size} at a time, needed: one each"
            )
        return np.asarray(outputs, dtype=np.float32)


def _order(name: str, model: ov.Model, first: Any) -> tuple[int, ...]:
    """Number of the sample's input for each input of a model: by name in a mapping, otherwise in the model's order."""
    count = len(_as_tuple(first))
    if count != len(model.inputs):
        raise EvaluationError(f"{name}: has {len(model.inputs)} inputs, the samples have {count}")
    if not isinstance(first, Mapping):
        return tuple(range(count))
    numbers = {key: number for number, key in enumerate(first)}
    try:
        return tuple(in_order(numbers, model))
    except ValueError as error:
        raise EvaluationError(f"{name}: the samples: {error}") from error


def _as_tuple(inputs: Any) -> tuple[Any, ...]:
    """The inputs of a sample: one, or a tuple or mapping by name of several."""
    if isinstance(inputs, Mapping):
        return tuple(inputs.values())
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _fix_shapes(name: str, model: ov.Model, sample_shapes: Sequence[tuple[int, ...]], batch_size: int | None) -> int:
    """Gives the inputs of a model the shapes of samples; the number of them in a batch."""
    declared = [port.get_partial_shape() for port in model.inputs]
    for shape, sample in zip(declared, sample_shapes, strict=True):
        if shape.rank.is_static and not _matches(shape, sample):
            raise EvaluationError(f"{name}: takes samples of shape {shape}, found {list(sample)}")
    own_batch = declared[0][0] if declared[0].rank.is_static else ov.Dimension()
    batch = batch_size or (own_batch.get_length() if own_batch.is_static else 1)
    wanted = [ov.PartialShape([batch, *sample]) for sample in sample_shapes]
    if declared != wanted:
        try:
            model.reshape(dict(enumerate(wanted)))
        except RuntimeError as error:
            shown = " and ".join(map(str, wanted))
            raise EvaluationError(f"{name}: cannot run {shown} at once: {last_line(error)}") from error
    return batch


def _matches(declared: ov.PartialShape, sample_shape: tuple[int, ...]) -> bool:
    return len(declared) == len(sample_shape) + 1 and bool(
        ov.PartialShape(list(declared)[1:]).compatible(ov.PartialShape(list(sample_shape)))
    )


def _chunks(samples: Samples, size: int) -> Iterator[tuple[tuple[npt.NDArray[Any], ...], list[Any]]]:
    names = list(samples[0][0]) if isinstance(samples[0][0], Mapping) else []
    pairs = (
        (tuple(inputs[name] for name in names) if names else inputs, target)
        for inputs, target in iterate_samples(samples)
    )
    try:
        yield from chunks(pairs, size)
    except QuantizationError as error:
        raise EvaluationError(str(error)) from error
