"""Runs the models of many policies on the same images, without compiling what earlier policies had as well."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import openvino as ov

from nncf_mcq.errors import QuantizationError, reason_of
from nncf_mcq.model.plugin_graph import NotSupportedError
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Arrays, Samples
from nncf_mcq.model.segment_request import Part, SegmentRequest
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.segment_library import BitWidths, SegmentLibrary

_logger = logging.getLogger(__name__)

WHOLE_POLICIES = 8
"""Policies that are compiled as a whole before segments are made: they pay where there are many policies."""

_CHECKED_POLICIES = 3
_CHECK_EVERY = 64
"""The first policies that are run in segments, and one in so many, are compiled as a whole, too, and compared."""

_Range: TypeAlias = tuple[int, int]


class SegmentedRuns:
    """Outputs of policies' models, in segments where that is possible; may be asked by several threads.

    They are those of the models as a whole, bit for bit. As this is the plugin's business, it is checked now and then,
    and at the first difference each policy is compiled as a whole again.

    Args:
        build: Makes the model of a policy.
        bit_widths: Those that `build` has weights of; without any, nothing is run in segments.
        images: That all are run on.
        batch_size: Samples per inference, at most.
    """

    def __init__(
        self, build: Callable[[Policy], ov.Model], bit_widths: BitWidths, images: Samples, batch_size: int
    ) -> None:
        self._images = images
        self._bit_widths = {name: widths for group, widths in bit_widths.items() for name in group}
        self._library = SegmentLibrary(build, bit_widths, batch_size) if bit_widths else None
        self._activation_bits: dict[str, int] | None = None
        self._asked = 0
        self._idle: dict[_Range, list[_Worker]] = {}
        self._lock = threading.Lock()

    def __call__(
        self, policy: Policy, run_whole: Callable[[], Arrays], threads: int, check: Callable[[], None]
    ) -> Arrays:
        """The outputs of a policy's model.

        Args:
            policy: Which.
            run_whole: Compiles its model and runs it on the images.
            threads: Inference threads.
            check: Called before each batch; an exception of it ends the run.
        """
        library = self._library
        number = self._number(policy) if library is not None else 0
        if library is None or number <= 0:
            return run_whole()
        try:
            found = self._run(library.of(policy), library, threads, check)
        except (NotSupportedError, QuantizationError, RuntimeError) as error:
            return self._give_up(reason_of(error), run_whole())
        if number > _CHECKED_POLICIES and number % _CHECK_EVERY:
            return found
        whole = run_whole()
        same = all(np.array_equal(*pair, equal_nan=True) for pair in zip(found, whole, strict=True))
        return found if same else self._give_up("outputs differ from those of the whole model", whole)

    def _number(self, policy: Policy) -> int:
        """How many policies were run in segments, with this one; 0 or less where it is run as a whole."""
        with self._lock:
            if self._activation_bits is None:
                self._activation_bits = dict(policy.activation_bits)
            if policy.activation_bits != self._activation_bits:
                return 0
            if any(policy.weight_bits.get(name) not in widths for name, widths in self._bit_widths.items()):
                return 0
            self._asked += 1
            return self._asked - WHOLE_POLICIES

    def _run(self, parts: list[Part], library: SegmentLibrary, threads: int, check: Callable[[], None]) -> Arrays:
        ranges = _ranges(len(self._images), library.batch_size, threads)
        if len(ranges) == 1:
            return self._run_range(ranges[0], parts, library, check)
        with ThreadPoolExecutor(len(ranges)) as pool:
            found = list(pool.map(lambda part: self._run_range(part, parts, library, check), ranges))
        return tuple(np.concatenate(outputs) for outputs in zip(*found, strict=True))

    def _run_range(self, part: _Range, parts: list[Part], library: SegmentLibrary, check: Callable[[], None]) -> Arrays:
        with self._lock:
            idle = self._idle.setdefault(part, [])
            worker = idle.pop() if idle else None
        if worker is None:
            worker = _Worker(library, self._images[slice(*part)])
        outputs = worker(parts, check)
        with self._lock:
            idle.append(worker)
        return outputs

    def _give_up(self, reason: str, outputs: Arrays) -> Arrays:
        _logger.info("policies are compiled as a whole: %s", reason)
        self._library = None
        self._idle = {}
        return outputs


class _Worker:
    """Runs models on some of the images, for one thread at a time."""

    def __init__(self, library: SegmentLibrary, images: Samples) -> None:
        self._images = images
        self._request = SegmentRequest(library.segments, -(-len(images) // library.batch_size))
        self._runner = ModelRunner(library.whole, batch_size=library.batch_size, request=self._request)

    def __call__(self, parts: list[Part], check: Callable[[], None]) -> Arrays:
        self._request.begin(parts)
        return self._runner(self._images.arrays, check)


def _ranges(images: int, batch_size: int, threads: int) -> list[_Range]:
    """Full batches for each thread, as far as there are."""
    batches = -(-images // batch_size)
    edges = np.linspace(0, batches, min(threads, batches) + 1).round().astype(int) * batch_size
    return [(int(first), min(int(last), images)) for first, last in itertools.pairwise(edges)]
