"""Running a compiled model over any number of samples: batches, their padding and parallel inferences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.inference import FloatPrecision, compile_model, with_batch

Arrays: TypeAlias = tuple[NDArray[Any], ...]
"""One array (N, ...) for each input, or for each output, of a model."""

CHUNK_BYTES = 128 * 2**20
"""Inputs and outputs of the samples that are in memory at a time, where a data set may be larger than memory."""


class ModelRunner:
    """A compiled model with a fixed batch that takes any number of samples.

    Not for several threads at a time; compiled models are, so each thread may have a runner of its own.

    Args:
        compiled: A model with static input shapes, the batch in the first dimension of each.
        requests: Inferences that are in flight at a time. A single one is computed by the caller's own thread, so that
            callers that run several models side by side decide how many threads there are.
    """

    def __init__(self, compiled: ov.CompiledModel, requests: int = 1) -> None:
        self.requests = requests
        self.batch_size = int(compiled.input(0).get_shape()[0])
        self.sample_bytes = _static_bytes((*compiled.inputs, *compiled.outputs)) // self.batch_size
        self._request = compiled.create_infer_request() if requests == 1 else None
        self._queue = None if requests == 1 else ov.AsyncInferQueue(compiled, requests)
        if self._queue is not None:
            # Not a method: a queue that refers to the runner that it belongs to would never be freed.
            self._queue.set_callback(_keep)

    @classmethod
    def compile(
        cls,
        model: ov.Model,
        threads: int,
        *,
        batch_size: int | None = None,
        precision: FloatPrecision = "f32",
        parallel: bool = False,
    ) -> ModelRunner:
        """Compiles a model and makes its runner.

        Args:
            model: The model; not edited.
            threads: Inference threads.
            batch_size: Samples per inference; None keeps the model's own.
            precision: The precision of float layers.
            parallel: Whether each thread runs inferences of its own, the fastest way to run many samples, instead of
                all threads running one.

        Raises:
            QuantizationError: The model cannot be run with this batch size, or cannot be compiled.
        """
        batched = model if batch_size is None else with_batch(model, batch_size)
        compiled = compile_model(batched, threads, precision, streams=threads if parallel else 1)
        # Two for each stream: a thread that is done finds the next batch waiting.
        return cls(compiled, 2 * threads if parallel else 1)

    def __call__(self, inputs: Sequence[NDArray[np.generic]]) -> Arrays:
        """The outputs of all samples.

        Args:
            inputs: (N, ...) for each input, in the model's order; N is 1 or more.

        Returns:
            (N, ...) for each output, in the model's order. The first dimension is a multiple of N where the model folds
            others into its batch.

        Raises:
            QuantizationError: An output does not have the batch in its first dimension, so that the padding of an
                incomplete batch cannot be removed.
        """
        return tuple(np.concatenate(parts) for parts in zip(*self.batches(inputs), strict=True))

    def batches(self, inputs: Sequence[NDArray[np.generic]]) -> list[Arrays]:
        """The outputs batch by batch, for outputs of which each batch has its own number; otherwise as `__call__`."""
        count, size = len(inputs[0]), self.batch_size
        # Requests read the arrays where they are: they must live until all are done.
        batches = [
            [_padded(values[start : start + size], size) for values in inputs] for start in range(0, count, size)
        ]
        found = self._run(batches)
        filled = count - size * (len(batches) - 1)
        if filled < size:
            found[-1] = tuple(_without_padding(output, index, filled, size) for index, output in enumerate(found[-1]))
        return found

    def _run(self, batches: Sequence[Sequence[NDArray[np.generic]]]) -> list[Arrays]:
        found: dict[int, Arrays] = {}
        if self._queue is None:
            assert self._request is not None
            for index, batch in enumerate(batches):
                self._request.infer(batch, share_inputs=True, share_outputs=True)
                found[index] = _copied_outputs(self._request)
        else:
            try:
                for index, batch in enumerate(batches):
                    self._queue.start_async(batch, (found, index), share_inputs=True)
            finally:
                self._queue.wait_all()
        return [found[index] for index in range(len(batches))]


def samples_per_chunk(runners: Iterable[ModelRunner]) -> int:
    """Number of samples whose inputs and outputs fit into `CHUNK_BYTES`: full batches of the largest batch size.

    Args:
        runners: The models that run on them, one after another.
    """
    known = list(runners)
    batch_size = max(runner.batch_size for runner in known)
    sample_bytes = max(runner.sample_bytes for runner in known)
    return batch_size * max(1, CHUNK_BYTES // max(sample_bytes * batch_size, 1))


def _keep(request: ov.InferRequest, place: tuple[dict[int, Arrays], int]) -> None:
    found, index = place
    found[index] = _copied_outputs(request)


def _copied_outputs(request: ov.InferRequest) -> Arrays:
    # At least one dimension: those of several batches are concatenated.
    return tuple(np.array(tensor.data, ndmin=1) for tensor in request.output_tensors)


def _static_bytes(ports: Iterable[ov.ConstOutput]) -> int:
    """Size of the tensors whose shape is known before the model runs."""
    return sum(
        int(np.prod(port.get_shape(), dtype=np.int64)) * port.get_element_type().size
        for port in ports
        if port.get_partial_shape().is_static
    )


def _padded(values: NDArray[Any], batch_size: int) -> NDArray[Any]:
    """A full batch: compiling for the size of the last one would cost more than running copies of its last sample."""
    missing = batch_size - len(values)
    full = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values
    return np.ascontiguousarray(full)


def _without_padding(output: NDArray[Any], index: int, samples: int, batch_size: int) -> NDArray[Any]:
    """The part of a batch's output that belongs to its first samples."""
    if len(output) % batch_size:
        raise QuantizationError(
            f"output {index} of the model: found shape {output.shape} for a batch of {batch_size}, allowed: the batch "
            "in the first dimension, or a batch size of 1"
        )
    return output[: len(output) * samples // batch_size]
