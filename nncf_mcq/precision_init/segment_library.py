"""Compiled segments of the models of policies: each is made once, and shared by all policies that have its bits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import openvino as ov

from nncf_mcq.model.inference import with_batch
from nncf_mcq.model.plugin_graph import NotSupportedError, PluginGraph, import_graph
from nncf_mcq.model.segment_request import Part
from nncf_mcq.model.segments import Segment, SegmentedGraph
from nncf_mcq.policy import Policy

LIMIT_BYTES = 2**30
"""Memory of all compiled segments, about: a network that needs more is compiled as a whole for each policy."""

BATCH_BYTES = 2**25
"""Of the tensors between the segments: those of a larger batch would leave the caches, and take too much memory."""

_MOST_LAYERS = 2
"""Of a segment: each combination of their bit-widths is compiled, and those of more layers hardly come twice."""

_SEGMENT_BYTES = 2**19
"""Of a compiled segment, without its weights and tensors."""

BitWidths: TypeAlias = Mapping[tuple[str, ...], tuple[int, ...]]
"""Names of the layers that share a bit-width to the bit-widths that there are weights of."""

_Key: TypeAlias = tuple[int, tuple[int, ...]]
"""Number of the segment, and the bit-widths of its layers."""


class SegmentLibrary:
    """The compiled segments of one fold; may be asked by several threads.

    A segment is taken from the graph of a model that has its bit-widths. In each model that is compiled for that, all
    other segments have bit-widths that were not seen yet: as many models as there are bit-widths hold all segments of a
    single layer.

    Args:
        build: Makes the model of a policy.
        bit_widths: What policies choose from.
        batch_size: Samples per inference, at most.

    Attributes:
        batch_size: Samples per inference, as soon as there was a policy.
    """

    def __init__(self, build: Callable[[Policy], ov.Model], bit_widths: BitWidths, batch_size: int) -> None:
        self.batch_size = batch_size
        self._build = build
        self._bit_widths = bit_widths
        self._group = {name: group for group in bit_widths for name in group}
        self._segments: list[Segment] = []
        self._whole: ov.CompiledModel | None = None
        self._files: dict[_Key, bytes] = {}
        self._compiled: dict[_Key, ov.CompiledModel] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, policy: Policy) -> list[Part]:
        """The compiled segments of a policy's model.

        Raises:
            NotSupportedError: The model cannot be cut into small segments, or there are too many to be kept.
        """
        with self._lock:
            if not self._segments:
                self._read(policy)
            if any(not self._is_known(key) for key in self._keys(policy)):
                self._read(self._completed(policy))
            return [(key, self._compile(key)) for key in self._keys(policy)]

    @property
    def segments(self) -> Sequence[Segment]:
        """In the order in which they are run; there are none before the first policy."""
        return self._segments

    @property
    def whole(self) -> ov.CompiledModel:
        """A model that has the inputs and outputs of them all."""
        assert self._whole is not None
        return self._whole

    def _keys(self, policy: Policy) -> list[_Key]:
        return [
            (index, tuple(policy.weight_bits[name] for name in segment.layers))
            for index, segment in enumerate(self._segments)
        ]

    def _is_known(self, key: _Key) -> bool:
        return key in self._files or key in self._compiled

    def _read(self, policy: Policy) -> None:
        """Adds the segments of a policy's model."""
        segmented, whole = self._cut(policy)
        if not self._segments:
            total = sum(tensor.size for segment in segmented.segments for tensor in segment.outputs)
            if total > BATCH_BYTES and self.batch_size > 1:
                self.batch_size = max(self.batch_size * BATCH_BYTES // total, 1)
                segmented, whole = self._cut(policy)
            self._segments, self._whole = segmented.segments, whole
            if max(len(segment.layers) for segment in self._segments) > _MOST_LAYERS:
                raise NotSupportedError("too many layers depend on one another")
        elif set(segmented.segments) != set(self._segments):
            raise NotSupportedError("the graphs of two policies are cut in different places")
        for key in self._keys(policy):
            if not self._is_known(key):
                self._files[key] = segmented.file(self._segments[key[0]])

    def _cut(self, policy: Policy) -> tuple[SegmentedGraph, ov.CompiledModel]:
        graph = PluginGraph.of(with_batch(self._build(policy), self.batch_size))
        return SegmentedGraph(graph, self._group), graph.compiled

    def _completed(self, policy: Policy) -> Policy:
        """A policy with the bit-widths of segments that another one lacks, and further unknown ones elsewhere."""
        bits = dict(policy.weight_bits)
        keys = self._keys(policy)
        fixed = {self._group[name] for key in keys if not self._is_known(key) for name in self._segments[key[0]].layers}
        for index, segment in enumerate(self._segments):
            groups = {self._group[name] for name in segment.layers}
            if not groups or groups & fixed:
                continue
            widths = set.intersection(*(set(self._bit_widths[group]) for group in groups))
            unknown = (width for width in sorted(widths) if not self._is_known((index, (width,) * len(segment.layers))))
            width = next(unknown, None)
            if width is not None:
                bits.update(dict.fromkeys((name for group in groups for name in group), width))
                fixed |= groups
        return Policy(bits, policy.activation_bits)

    def _compile(self, key: _Key) -> ov.CompiledModel:
        if key not in self._compiled:
            file = self._files.pop(key)
            self._compiled[key] = import_graph(file)
            # The plugin keeps its weights as they are in the file and as its kernels read them.
            self._bytes += _SEGMENT_BYTES + 2 * len(file)
            self._bytes += sum(tensor.size for tensor in self._segments[key[0]].outputs)
            if self._bytes > LIMIT_BYTES:
                raise NotSupportedError("the compiled segments take too much memory")
        return self._compiled[key]
