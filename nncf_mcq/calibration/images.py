"""Samples out of what users of NNCF have: an `nncf.Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.batching import why_not_together
from nncf_mcq.model.samples import Arrays, Samples, in_order, input_shapes, to_array

_CHECKED_ROWS = 2
"""Rows of an item that are run together and alone, to see whether each is a sample of its own."""


def collect_images(dataset: nncf.Dataset | Iterable[object], limit: int | None, model: ov.Model) -> Samples:
    """Reads the first inputs of a data set.

    Args:
        dataset: As in `iterate_images`.
        limit: Largest number of samples; None for all.
        model: The float model, with static input shapes.

    Raises:
        QuantizationError: The data set is empty, an item does not fit the model's inputs, or a value is not a number.
    """
    found = list(islice(iterate_images(dataset, model), limit))
    if not found:
        raise QuantizationError("the data set is empty: give at least one image")
    for number, values in enumerate(found):
        if any(np.issubdtype(value.dtype, np.floating) and np.isnan(value).any() for value in values):
            raise QuantizationError(f"sample {number} of the data set is not finite: it holds NaN")
    return Samples([np.stack(values) for values in zip(*found, strict=True)])


def iterate_images(dataset: nncf.Dataset | Iterable[object], model: ov.Model) -> Iterator[Arrays]:
    """Reads the samples of a data set one at a time.

    Args:
        dataset: Its items are arrays or tensors, or sequences or mappings by name of one for each input of the model.
            An item holds one sample, or several along its first dimension. Where a sample is itself a batch, the
            items' rows are put together until there are enough.
        model: The float model, with static input shapes.

    Yields:
        An array for each input of one sample, as in `Samples`.

    Raises:
        QuantizationError: An item does not fit the model's inputs, or its rows are no samples of their own.
    """
    items = dataset.get_inference_data() if isinstance(dataset, nncf.Dataset) else dataset
    shapes = input_shapes(model)
    rows: list[Arrays] = []
    checked = False
    is_empty = True
    for index, item in enumerate(items):
        values = _values(item, index, model)
        whole = _whole_samples(values, shapes)
        if whole is None:
            parts = _rows(values, shapes, index)
            if shapes[0][0] == 1 and len(parts) > 1 and not checked:
                _check_rows(model, parts[:_CHECKED_ROWS], index)
                checked = True
            rows += parts
            size = shapes[0][0]
            whole = [_stacked_rows(rows[start : start + size]) for start in range(0, len(rows) - size + 1, size)]
            rows = rows[len(whole) * size :]
        is_empty &= not whole
        yield from whole
    if is_empty and rows:
        raise QuantizationError(
            f"the data set: found {len(rows)} items, allowed: {shapes[0][0]} or more, which are one sample of the "
            "model; input_info.sample_size gives it another shape"
        )


def _whole_samples(values: Sequence[NDArray[Any]], shapes: Sequence[tuple[int, ...]]) -> list[Arrays] | None:
    """The samples of an item that holds the model's own tensors, or several of them along one more dimension."""
    if all(value.shape == shape for value, shape in zip(values, shapes, strict=True)):
        return [tuple(_without_one(value) for value in values)]
    is_more = all(value.shape[1:] == shape and value.ndim for value, shape in zip(values, shapes, strict=True))
    if is_more and len({len(value) for value in values}) == 1:
        return [tuple(_without_one(value) for value in sample) for sample in zip(*values, strict=True)]
    return None


def _rows(values: Sequence[NDArray[Any]], shapes: Sequence[tuple[int, ...]], index: int) -> list[Arrays]:
    """The rows along the first dimension, which the model's own shape must have as well."""
    size = shapes[0][0] if shapes[0] else 0
    fits = all(
        value.ndim == len(shape) and value.shape[1:] == shape[1:] and shape[:1] == (size,)
        for value, shape in zip(values, shapes, strict=True)
    )
    found = {len(value) for value in values} if fits else set()
    count = next(iter(found)) if len(found) == 1 else 0
    # One at a time, or full samples: else the rows of a sample would depend on where an item ends.
    if not (count == 1 or (count and count % size == 0)):
        shown = " and ".join(str(value.shape) for value in values)
        allowed = " and ".join(_allowed(shape) for shape in shapes)
        where = "" if size == 1 else ", the shape of one sample of the model; input_info.sample_size gives it another"
        raise QuantizationError(f"item {index} of the data set: found shape {shown}, allowed: {allowed}{where}")
    return list(zip(*values, strict=True))


def _allowed(shape: tuple[int, ...]) -> str:
    return f"(batch, {', '.join(map(str, shape[1:]))})" if shape[:1] == (1,) else str(shape)


def _check_rows(model: ov.Model, rows: Sequence[Arrays], index: int) -> None:
    """Raises where rows that the model could run together have other outputs alone: time steps, e.g."""
    samples = Samples([np.stack(values) for values in zip(*rows, strict=True)])
    reason = why_not_together(model, samples, threads=1)
    if reason.startswith("output"):
        raise QuantizationError(
            f"item {index} of the data set: {reason}, so that its rows are no samples of their own: give the shape of "
            "one sample in input_info.sample_size, or items of one sample each"
        )


def _stacked_rows(rows: Sequence[Arrays]) -> Arrays:
    return tuple(_without_one(np.stack(values)) for values in zip(*rows, strict=True))


def _without_one(values: NDArray[Any]) -> NDArray[Any]:
    return values[0] if values.shape[:1] == (1,) else values


def _values(item: object, index: int, model: ov.Model) -> list[NDArray[Any]]:
    """The array of each input of the model."""
    ports = model.inputs
    if isinstance(item, Mapping):
        try:
            values = in_order(item, model)
        except ValueError as error:
            raise QuantizationError(f"item {index} of the data set: {error}") from error
    elif isinstance(item, list | tuple):
        values = list(item)
    else:
        values = [item]
    if len(values) != len(ports):
        allowed = "the one input of the model" if len(ports) == 1 else f"the {len(ports)} inputs of the model"
        raise QuantizationError(
            f"item {index} of the data set: found {len(values)} values, allowed: {allowed} "
            "(give nncf.Dataset a transform_func that drops the target)"
        )
    return [to_array(value, port) for value, port in zip(values, ports, strict=True)]
