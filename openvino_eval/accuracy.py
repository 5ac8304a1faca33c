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
from nncf_mcq.model import ModelRunner, samples_per_chunk
from nncf_mcq.utils import last_line
from openvino_eval.errors import EvaluationError
from openvino_eval.runtime import DEFAULT_THREADS, Precision, check_threads, evaluation_errors, read_model
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
        model: A model with one image input, or the file of one.
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
        models: Name -> model with one image input, or the file of one.
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
    first_image = np.asarray(samples[0][0], dtype=np.float32)
    runners = {
        name: _runner(name, model, first_image, batch_size, threads, (precisions or {}).get(name, Precision.F32))
        for name, model in models.items()
    }
    outputs: dict[str, list[Outputs]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    targets: list[Any] = []
    for images, chunk_targets in _chunks(samples, samples_per_chunk(runners.values())):
        targets += chunk_targets
        for name, runner in runners.items():
            start = time.perf_counter()
            outputs[name].append(_first_output(name, runner, images))
            seconds[name] += time.perf_counter() - start
            for _ in chunk_targets:
                progress()
    return Predictions(
        {name: np.concatenate(parts) for name, parts in outputs.items()},
        stack_targets(targets),
        {name: len(samples) / max(taken, 1e-9) for name, taken in seconds.items()},
    )


def _runner(
    name: str,
    model: Path | ov.Model,
    first_image: npt.NDArray[np.float32],
    batch_size: int | None,
    threads: int,
    precision: Precision,
) -> ModelRunner:
    """The model with all shapes fixed to those of the samples, run in parallel."""
    loaded = read_model(model) if isinstance(model, Path) else model.clone()
    if len(loaded.inputs) != 1:
        raise EvaluationError(f"{name}: has {len(loaded.inputs)} inputs, needed: one image input")
    declared = loaded.input(0).get_partial_shape()
    if declared.rank.is_static and not _matches(declared, first_image.shape):
        raise EvaluationError(f"{name}: takes images of shape {declared}, the samples are {list(first_image.shape)}")
    own_batch = declared[0] if declared.rank.is_static else ov.Dimension()
    batch = batch_size or (own_batch.get_length() if own_batch.is_static else 1)
    wanted = ov.PartialShape([batch, *first_image.shape])
    if declared != wanted:
        try:
            loaded.reshape(wanted)
        except RuntimeError as error:
            raise EvaluationError(f"{name}: cannot run {wanted} at once: {last_line(error)}") from error
    with evaluation_errors(name):
        runner = ModelRunner.compile(loaded, check_threads(threads), precision=precision.value, parallel=True)
        # The first inference of each request is slower.
        runner([np.repeat(first_image[None], runner.requests * batch, axis=0)])
    return runner


def _first_output(name: str, runner: ModelRunner, images: Sequence[npt.NDArray[Any]]) -> Outputs:
    with evaluation_errors(name):
        outputs = runner(images)[0]
    if len(outputs) != len(images[0]):
        found = f"{len(outputs)} outputs for {len(images[0])} images"
        raise EvaluationError(f"{name}: found {found}, a batch of {runner.batch_size} at a time, needed: one each")
    return np.asarray(outputs, dtype=np.float32)


def _matches(declared: ov.PartialShape, image_shape: tuple[int, ...]) -> bool:
    return len(declared) == len(image_shape) + 1 and bool(
        ov.PartialShape(list(declared)[1:]).compatible(ov.PartialShape(list(image_shape)))
    )


def _chunks(samples: Samples, size: int) -> Iterator[tuple[tuple[npt.NDArray[Any], ...], list[Any]]]:
    try:
        yield from chunks(iterate_samples(samples), size)
    except QuantizationError as error:
        raise EvaluationError(str(error)) from error
