"""Runs models that are put together from compiled segments; what two of them have in common is computed once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.model.segment_writer import CutTensor
from nncf_mcq.model.segments import Segment

KEPT_BYTES = 64 * 2**20
"""Tensors of the last model that are kept, so that the next one can begin where it differs."""

_CHECKPOINTS = 8
"""Places in the model at which they are kept."""

_DTYPES = {"U8": np.uint8, "I8": np.int8}

Part: TypeAlias = tuple[Hashable, ov.CompiledModel]
"""A compiled segment, and what tells it from others of its place."""


@dataclass(frozen=True)
class Output:
    """An output of the last inference."""

    data: NDArray[np.generic]


class SegmentRequest:
    """Runs models of the same segments over the same batches, in the place of an inference request of each.

    For one thread at a time.

    Args:
        segments: Of all the models, in their order.
        batches: Number of batches that each model is run on.
    """

    def __init__(self, segments: Sequence[Segment], batches: int) -> None:
        self._segments = segments
        self._tensors = _allocate(segments)
        self._live = _live(segments)
        self._checkpoints = _checkpoints(self._live, KEPT_BYTES // batches)
        self._requests: dict[tuple[int, Hashable], ov.InferRequest] = {}
        self._parts: Sequence[Part] = ()
        self._batch = 0
        self._done: dict[int, list[Hashable]] = {}
        self._kept: dict[tuple[int, int], dict[str, NDArray[np.generic]]] = {}
        self._results: dict[int, dict[int, NDArray[np.generic]]] = {}

    def begin(self, parts: Sequence[Part]) -> None:
        """Chooses the model: the next inference is that of its first batch.

        Args:
            parts: Of each segment.
        """
        self._parts = parts
        self._batch = 0

    def infer(
        self, inputs: Sequence[NDArray[np.generic]], *, share_inputs: bool = True, share_outputs: bool = True
    ) -> None:
        """Runs the model on the next batch, from the first segment on that differs from the model before.

        Args:
            inputs: Each input of the model.
            share_inputs: As in OpenVINO; they always are.
            share_outputs: The same.
        """
        batch, self._batch = self._batch, self._batch + 1
        keys = [key for key, _ in self._parts]
        first = self._resume(batch, keys)
        # An inference that does not come to its end leaves nothing to go on from.
        self._done.pop(batch, None)
        results = self._results.setdefault(batch, {})
        for index, segment in enumerate(self._segments[first:], start=first):
            if index in self._checkpoints and index > first:
                self._keep(batch, index)
            request = self._request(index)
            for number, parameter in enumerate(segment.parameters, start=len(segment.inputs)):
                values = np.ascontiguousarray(
                    inputs[parameter], dtype=request.model_inputs[number].element_type.to_dtype()
                )
                request.set_input_tensor(number, ov.Tensor(values, shared_memory=True))
            request.infer({}, share_inputs=True, share_outputs=True)
            for number, result in enumerate(segment.results):
                results[result] = np.array(request.get_output_tensor(number).data)
        self._done[batch] = keys

    @property
    def output_tensors(self) -> list[Output]:
        """The outputs of the last batch."""
        return [Output(values) for _, values in sorted(self._results[self._batch - 1].items())]

    def _resume(self, batch: int, keys: Sequence[Hashable]) -> int:
        """Restores the tensors of the last checkpoint before the first difference; returns its place."""
        done = self._done.get(batch, [])
        same = next(
            (index for index, pair in enumerate(zip(keys, done, strict=False)) if pair[0] != pair[1]), len(done)
        )
        place = max((index for index in self._checkpoints if index <= same), default=0)
        for name, values in self._kept[batch, place].items() if place else ():
            np.copyto(self._tensors[name], values)
        return place

    def _keep(self, batch: int, index: int) -> None:
        kept = self._kept.setdefault((batch, index), {})
        for tensor in self._live[index]:
            if tensor.name in kept:
                np.copyto(kept[tensor.name], self._tensors[tensor.name])
            else:
                kept[tensor.name] = self._tensors[tensor.name].copy()

    def _request(self, index: int) -> ov.InferRequest:
        key, compiled = self._parts[index]
        if (index, key) not in self._requests:
            segment, request = self._segments[index], compiled.create_infer_request()
            for number, tensor in enumerate(segment.inputs):
                request.set_input_tensor(number, ov.Tensor(self._tensors[tensor.name], shared_memory=True))
            for number, tensor in enumerate(segment.outputs, start=len(segment.results)):
                request.set_output_tensor(number, ov.Tensor(self._tensors[tensor.name], shared_memory=True))
            self._requests[index, key] = request
        return self._requests[index, key]


def _last_readers(segments: Sequence[Segment]) -> dict[str, int]:
    return {tensor.name: index for index, segment in enumerate(segments) for tensor in segment.inputs}


def _live(segments: Sequence[Segment]) -> list[list[CutTensor]]:
    """For each segment the tensors that were computed before it, and that it or a later one reads."""
    last = _last_readers(segments)
    live: list[list[CutTensor]] = []
    now: list[CutTensor] = []
    for index, segment in enumerate(segments):
        live.append(now)
        now = [tensor for tensor in (*now, *segment.outputs) if last.get(tensor.name, -1) > index]
    return live


def _allocate(segments: Sequence[Segment]) -> dict[str, NDArray[np.generic]]:
    """Memory of each tensor, which is used again for others when nobody reads it any more: it stays in the caches."""
    last = _last_readers(segments)
    sizes: list[int] = []
    free: list[int] = []
    slots: dict[str, int] = {}
    tensors = {tensor.name: tensor for segment in segments for tensor in segment.outputs}
    for index, segment in enumerate(segments):
        for tensor in segment.outputs:
            # The one that fits best, or the largest, which then grows.
            fitting = sorted(free, key=lambda slot: (sizes[slot] < tensor.size, abs(sizes[slot] - tensor.size)))
            if fitting:
                free.remove(fitting[0])
                sizes[fitting[0]] = max(sizes[fitting[0]], tensor.size)
            else:
                sizes.append(tensor.size)
            slots[tensor.name] = fitting[0] if fitting else len(sizes) - 1
        free += [slots[tensor.name] for tensor in segment.inputs if last[tensor.name] == index]
    memory = [np.zeros(size, dtype=np.uint8) for size in sizes]
    return {
        name: memory[slot][: tensors[name].size].view(_DTYPES[tensors[name].precision]).reshape(tensors[name].shape)
        for name, slot in slots.items()
    }


def _checkpoints(live: Sequence[Sequence[CutTensor]], limit: int) -> frozenset[int]:
    """Places spread over the model where few bytes are between the segments before and behind.

    Args:
        live: See `_live`.
        limit: Bytes of all of them together.
    """
    sizes = {index: sum(tensor.size for tensor in tensors) for index, tensors in enumerate(live)}
    parts = np.array_split(np.arange(1, len(live)), _CHECKPOINTS)
    found = sorted((min(map(int, part), key=sizes.__getitem__) for part in parts if len(part)), key=sizes.__getitem__)
    fitting = np.cumsum([sizes[index] for index in found]) <= limit
    return frozenset(index for index, fits in zip(found, fitting, strict=True) if fits)
