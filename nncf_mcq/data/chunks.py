"""Samples of a data set as arrays, a part at a time: it may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.data.splits import ImageDataset, Target
from nncf_mcq.errors import QuantizationError


def iterate_samples(dataset: ImageDataset) -> Iterator[tuple[Any, Target]]:
    """The samples of an indexed data set, in order.

    Args:
        dataset: Its length is known; not every one ends an iteration by itself.
    """
    return (dataset[index] for index in range(len(dataset)))


def chunks(samples: Iterable[tuple[Any, Target]], size: int) -> Iterator[tuple[tuple[NDArray[Any], ...], list[Target]]]:
    """Divides samples into chunks.

    Args:
        samples: Inputs and target of each. The inputs are one array, or a tuple of one for each input of the model;
            those of floating-point numbers become float32.
        size: Samples in a chunk; the last one may have fewer.

    Yields:
        (N, ...) arrays, one for each input, and N targets.

    Raises:
        QuantizationError: The samples of a chunk differ in shape or in their number of inputs.
    """
    remaining = iter(samples)
    first = 0
    while chunk := list(islice(remaining, size)):
        try:
            stacked = stack_inputs([inputs for inputs, _ in chunk])
        except ValueError as error:
            where = f"samples {first} to {first + len(chunk) - 1}"
            raise QuantizationError(f"{where}: found {error}, allowed: the same for all") from error
        yield stacked, [target for _, target in chunk]
        first += len(chunk)


def stack_inputs(samples: Sequence[Any]) -> tuple[NDArray[Any], ...]:
    """The inputs of several samples, stacked.

    Args:
        samples: One array each, or a tuple of one for each input of the model.

    Returns:
        (N, ...) for each input; float32 where they are floating-point numbers.

    Raises:
        ValueError: The shapes, or the numbers of inputs, differ.
    """
    rows = [sample if isinstance(sample, tuple) else (sample,) for sample in samples]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{sorted({len(row) for row in rows})} inputs")
    return tuple(_stacked([np.asarray(value) for value in column]) for column in zip(*rows, strict=True))


def _stacked(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    shapes = {value.shape for value in values}
    if len(shapes) > 1:
        raise ValueError(f"shapes {', '.join(map(str, sorted(shapes)))}")
    stacked = np.stack(values)
    return stacked.astype(np.float32, copy=False) if np.issubdtype(stacked.dtype, np.floating) else stacked
