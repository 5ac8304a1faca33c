"""What a model answers on a set of samples, and how good that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_mcq.metrics.metrics import METRICS, agreement, kl_divergence
from openvino_eval.errors import EvaluationError, last_line
from openvino_eval.runtime import DEFAULT_THREADS, Precision, compile_model, read_model
from openvino_eval.samples import Samples

Outputs = npt.NDArray[np.float32]

_CHUNK_BYTES = 128 * 2**20
"""Decoded images in memory at a time."""


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
        metrics: Names of `nncf_mcq.metrics.metrics.METRICS`.
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
        metrics: Names of `nncf_mcq.metrics.metrics.METRICS`.

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
    """How far one model's answers are from another's.

    Args:
        outputs: float32 (samples, classes).
        reference: float32 (samples, classes).

    Returns:
        `agreement`, the share of equal top-1 answers, and `kl`, the mean KL divergence from the reference in nats.

    Raises:
        EvaluationError: The shapes differ, or are not those of a classifier, or the reference is not finite.
    """
    if outputs.ndim != 2:
        raise EvaluationError(f"outputs of shape {outputs.shape} cannot be compared, needed: (samples, classes)")
    if outputs.shape != reference.shape:
        raise EvaluationError(f"outputs of shape {outputs.shape} cannot be compared with a reference {reference.shape}")
    try:
        return {"agreement": float(agreement(outputs, reference)), "kl": float(kl_divergence(outputs, reference))}
    except ValueError as error:
        raise EvaluationError(f"outputs cannot be compared: {error}") from error


def is_classifier(outputs: Outputs) -> bool:
    """Whether outputs have the shape that `compare_outputs` takes.

    Args:
        outputs: Of any model.
    """
    return outputs.ndim == 2 and outputs.shape[1] > 1


@dataclass(frozen=True)
class Predictions:
    """What several models answered on the same samples.

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
    first_image = _image(samples, 0)
    runners = {
        name: _Runner(name, model, first_image, batch_size, threads, (precisions or {}).get(name, Precision.F32))
        for name, model in models.items()
    }
    largest_batch = max(runner.batch_size for runner in runners.values())
    chunk_size = largest_batch * max(1, _CHUNK_BYTES // max(first_image.nbytes * largest_batch, 1))
    outputs: dict[str, list[Outputs]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    targets: list[Any] = []
    for images, chunk_targets in _chunks(samples, chunk_size):
        targets += chunk_targets
        for name, runner in runners.items():
            start = time.perf_counter()
            outputs[name].append(runner(images))
            seconds[name] += time.perf_counter() - start
            for _ in images:
                progress()
    return Predictions(
        {name: np.concatenate(parts) for name, parts in outputs.items()},
        _stack(targets),
        {name: len(samples) / max(taken, 1e-9) for name, taken in seconds.items()},
    )


class _Runner:
    """A compiled model with a fixed batch that takes any number of images, one batch a thread at a time."""

    def __init__(
        self,
        name: str,
        model: Path | ov.Model,
        first_image: npt.NDArray[np.float32],
        batch_size: int | None,
        threads: int,
        precision: Precision,
    ) -> None:
        self.name = name
        loaded = read_model(model) if isinstance(model, Path) else model.clone()
        if len(loaded.inputs) != 1:
            raise EvaluationError(f"{name}: has {len(loaded.inputs)} inputs, needed: one image input")
        declared = loaded.input(0).get_partial_shape()
        if declared.rank.is_static and not _matches(declared, first_image.shape):
            raise EvaluationError(
                f"{name}: takes images of shape {declared}, the samples are {list(first_image.shape)}"
            )
        own_batch = declared[0] if declared.rank.is_static else ov.Dimension()
        self.batch_size = batch_size or (own_batch.get_length() if own_batch.is_static else 1)
        wanted = ov.PartialShape([self.batch_size, *first_image.shape])
        if declared != wanted:
            try:
                loaded.reshape(wanted)
            except RuntimeError as error:
                raise EvaluationError(f"{name}: cannot run {wanted} at once: {last_line(error)}") from error
        compiled = compile_model(loaded, threads=threads, precision=precision, streams=threads)
        # A thread that is done finds the next batch waiting.
        requests = 2 * threads
        self._queue = ov.AsyncInferQueue(compiled, requests)
        self._queue.set_callback(self._keep)
        self._answers: dict[int, Outputs] = {}
        # The first inference of each request is slower.
        self(np.repeat(first_image[None], requests * self.batch_size, axis=0))

    def __call__(self, images: npt.NDArray[np.float32]) -> Outputs:
        self._answers.clear()
        starts = range(0, len(images), self.batch_size)
        # Requests read the images where they are: they must live until all are done.
        batches = [self._full(images[start : start + self.batch_size]) for start in starts]
        for index, batch in enumerate(batches):
            self._queue.start_async([batch], index, share_inputs=True)
        self._queue.wait_all()
        answers = [self._answers[index] for index in range(len(batches))]
        if answers[0].shape[:1] != (self.batch_size,):
            raise EvaluationError(f"{self.name}: answers {answers[0].shape} to a batch of {self.batch_size}")
        return np.concatenate(answers)[: len(images)]

    def _full(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A batch filled up with copies of its last image, whose answers are dropped."""
        missing = self.batch_size - len(batch)
        return batch if missing == 0 else np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])

    def _keep(self, request: ov.InferRequest, index: int) -> None:
        self._answers[index] = np.array(request.get_output_tensor(0).data, dtype=np.float32)


def _matches(declared: ov.PartialShape, image_shape: tuple[int, ...]) -> bool:
    return len(declared) == len(image_shape) + 1 and bool(
        ov.PartialShape(list(declared)[1:]).compatible(ov.PartialShape(list(image_shape)))
    )


def _image(samples: Samples, index: int) -> npt.NDArray[np.float32]:
    return np.asarray(samples[index][0], dtype=np.float32)


def _chunks(samples: Samples, size: int) -> Iterator[tuple[npt.NDArray[np.float32], list[Any]]]:
    for start in range(0, len(samples), size):
        pairs = [samples[index] for index in range(start, min(start + size, len(samples)))]
        images = [np.asarray(image, dtype=np.float32) for image, _ in pairs]
        if len({image.shape for image in images}) > 1:
            raise EvaluationError(f"samples {start}..{start + len(images) - 1}: images of several shapes")
        yield np.stack(images), [target for _, target in pairs]


def _stack(targets: list[Any]) -> Any:
    """Targets of one shape as an array, others (e.g. boxes, of which each image has its own number) as they are."""
    arrays = [np.asarray(target) for target in targets]
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else targets
