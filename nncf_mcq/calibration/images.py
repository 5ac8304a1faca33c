"""Images out of what users of NNCF have: an `nncf.Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import nncf
import numpy as np
from numpy.typing import NDArray

from nncf_mcq.errors import QuantizationError


def collect_images(
    dataset: nncf.Dataset | Iterable[object], limit: int | None, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Reads the first inputs of a data set into one array.

    Args:
        dataset: Its inference data are arrays or tensors of one batch each, or mappings or sequences of one such value.
        limit: Largest number of images; None for all.
        shape: Shape of one input with batch dimension 1.

    Returns:
        (N, ...) float32 images.

    Raises:
        QuantizationError: The data set is empty, or an image has another shape than the model's input.
    """
    found = list(islice(iterate_images(dataset, shape), limit))
    if not found:
        raise QuantizationError("the data set is empty: give at least one image")
    return np.concatenate(found)


def iterate_images(dataset: nncf.Dataset | Iterable[object], shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Reads the inputs of a data set one at a time.

    Args:
        dataset: As in `collect_images`.
        shape: Shape of one input with batch dimension 1.

    Yields:
        (1, ...) float32 images.

    Raises:
        QuantizationError: An image has another shape than the model's input.
    """
    items = dataset.get_inference_data() if isinstance(dataset, nncf.Dataset) else dataset
    for index, item in enumerate(items):
        batch = _to_array(item, index)
        if batch.shape[1:] != shape[1:]:
            allowed = ", ".join(map(str, shape[1:]))
            raise QuantizationError(
                f"item {index} of the data set: found shape {batch.shape}, allowed: (batch, {allowed})"
            )
        for image in batch:
            yield image[None]


def _to_array(item: object, index: int) -> NDArray[np.float32]:
    if isinstance(item, dict):
        item = list(item.values())
    if isinstance(item, list | tuple):
        if len(item) != 1:
            raise QuantizationError(
                f"item {index} of the data set: found {len(item)} values, allowed: the one input of the model "
                "(give nncf.Dataset a transform_func that drops the target)"
            )
        item = item[0]
    if hasattr(item, "detach"):
        item = item.detach().cpu().numpy()
    return np.asarray(item, dtype=np.float32)
