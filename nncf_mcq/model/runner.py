"""Running a compiled model over any number of samples: batches, their padding and parallel inferences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.inference import FloatPrecision, compile_model, with_batch
from nncf_mcq.model.samples import Arrays, input_shapes

CHUNK_BYTES = 128 * 2**20
"""Inputs and outputs of the samples that are in memory at a time, where a data set may be larger than memory."""


class Tensor(Protocol):
    """An output, as far as it is read here."""

    @property
    def data(self) -> Any:
        """Its values."""


class Request(Protocol):
    """An inference request, as far as it is used here."""

    def infer(self, inputs: Any, *, share_inputs: bool, share_outputs: bool) -> object:
        """Runs one batch."""

    @property
    def output_tensors(self) -> Sequence[Tensor]:
        """The outputs of the last batch."""


class ModelRunner:
    """A compiled model with a fixed batch that takes any number of samples.

    Not for several threads at a time; compiled models are, so each thread may have a runner of its own.

    Args:
        compiled: A model with static input shapes, the batch in the first dimension of each where it takes several
            samples.
        requests: Inferences that are in flight at a time. A single one is computed by the caller's own thread, so that
            callers that run several models side by side decide how many threads there are.
        batch_size: Samples per inference; by default as many as the first dimension of the first input has.
        request: Runs the batches in the place of the compiled model's own request, where there is one request.
    """

    def __init__(
        self,
        compiled: ov.CompiledModel,
        requests: int = 1,
        batch_size: int | None = None,
        request: Request | None = None,
    ) -> None:
        self.requests = requests
        self._shapes = input_shapes(compiled)
        rows = int(self._shapes[0][0]) if self._shapes[0] else 1
        self.batch_size = rows if batch_size is None else batch_size
        self._stacked = [self.batch_size == 1 and _has_no_batch(port, rows) for port in compiled.outputs]
        self.sample_bytes = _static_bytes((*compiled.inputs, *compiled.outputs)) // self.batch_size
        self._request: Request | None = request
        if request is None and requests == 1:
            self._request = compiled.create_infer_request()
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
            batch_size: Samples per inference, each a full tensor of the model's own shape for each input; None keeps
                the model as it is, with as many samples as its first dimension has.
            precision: The precision of float layers.
            parallel: Whether each thread runs inferences of its own, the fastest way to run many samples, instead of
                all threads running one.

        Raises:
            QuantizationError: The model cannot be run with this batch size, or cannot be compiled.
        """
        batched = model if batch_size is None else with_batch(model, batch_size)
        compiled = compile_model(batched, threads, precision, streams=threads if parallel else 1)
        # Two for each stream: a thread that is done finds the next batch waiting.
        return cls(compiled, 2 * threads if parallel else 1, batch_size)

    def __call__(self, inputs: Sequence[NDArray[np.generic]], check: Callable[[], None] = lambda: None) -> Arrays:
        """The outputs of all samples.

        Args:
            inputs: (N, ...) for each input, in the model's order; N is 1 or more.
            check: Called before each batch; an exception of it ends the run.

        Returns:
            (N, ...) for each output, in the model's order. The first dimension is a multiple of N where the model folds
            others into its batch. Outputs of which each sample has its own number are filled up with zeros where one
            sample is run at a time.

        Raises:
            QuantizationError: An output does not have the batch in its first dimension, so that the padding of an
                incomplete batch cannot be removed.
        """
        outputs = zip(*self.batches(inputs, check), strict=True)
        return tuple(
            np.stack(_filled_up(parts)) if stacked else np.concatenate(_filled_up(parts, first=1))
            for parts, stacked in zip(outputs, self._stacked, strict=True)
        )

    def batches(self, inputs: Sequence[NDArray[np.generic]], check: Callable[[], None] = lambda: None) -> list[Arrays]:
        """The outputs batch by batch, for outputs of which each batch has its own number; otherwise as `__call__`."""
        count, size = len(inputs[0]), self.batch_size
        # Requests read the arrays where they are: they must live until all are done.
        batches = [
            [
                _shaped(_padded(values[start : start + size], size), shape)
                for values, shape in zip(inputs, self._shapes, strict=True)
            ]
            for start in range(0, count, size)
        ]
        found = self._run(batches, check)
        filled = count - size * (len(batches) - 1)
        if filled < size:
            found[-1] = tuple(_without_padding(output, index, filled, size) for index, output in enumerate(found[-1]))
        return found

    def _run(self, batches: Sequence[Sequence[NDArray[np.generic]]], check: Callable[[], None]) -> list[Arrays]:
        found: dict[int, Arrays] = {}
        if self._queue is None:
            assert self._request is not None
            for index, batch in enumerate(batches):
                check()
                self._request.infer(batch, share_inputs=True, share_outputs=True)
                found[index] = _copied_outputs(self._request)
        else:
            try:
                for index, batch in enumerate(batches):
                    check()
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


def _copied_outputs(request: Request) -> Arrays:
    # At least one dimension: those of several batches are concatenated.
    return tuple(np.array(tensor.data, ndmin=1) for tensor in request.output_tensors)


def _static_bytes(ports: Iterable[ov.ConstOutput]) -> int:
    """Size of the tensors whose shape is known before the model runs."""
    return sum(
        int(np.prod(port.get_shape(), dtype=np.int64)) * port.get_element_type().size
        for port in ports
        if port.get_partial_shape().is_static
    )


def _has_no_batch(port: ov.ConstOutput, rows: int) -> bool:
    """Whether the first dimension of an output is neither 1 nor that of a sample's rows.

    It is then one of the sample's own, e.g. the number of objects in an image.
    """
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or not len(shape):
        return False
    if shape[0].is_dynamic:
        return True
    length = int(shape[0].get_length())
    return length != 1 and (length != rows if len(shape) == 1 else length % rows != 0)


def _filled_up(parts: Sequence[NDArray[Any]], first: int = 0) -> Sequence[NDArray[Any]]:
    """Arrays of one shape, from dimension `first` on; the smaller ones are filled up with zeros."""
    if len({part.shape[first:] for part in parts}) == 1 or len({part.ndim for part in parts}) > 1:
        return parts
    largest = np.max([part.shape for part in parts], axis=0)
    return [
        np.pad(part, [(0, 0 if axis < first else int(largest[axis]) - size) for axis, size in enumerate(part.shape)])
        for part in parts
    ]


def _shaped(batch: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A batch in the shape of its input; what does not fit is left for OpenVINO to refuse."""
    return batch.reshape(shape) if batch.size == math.prod(shape) else batch


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
