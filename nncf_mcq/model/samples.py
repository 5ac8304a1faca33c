"""Samples of a model: what its inputs are for one inference, and how many of them are kept together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

Arrays: TypeAlias = tuple[NDArray[Any], ...]
"""One array (N, ...) for each input, or for each output, of a model."""

Shapes: TypeAlias = Sequence[tuple[int, ...]]
"""The static shape of each input of a model."""


class Samples:
    """The inputs of N inferences: one array (N, ...) for each input of a model, in its order.

    A sample is one full tensor for each input, of the model's own static shape. A first dimension of 1 is left out:
    samples of (1, 3, 224, 224) are kept as (N, 3, 224, 224), samples of (4, 3, 224, 224) as (N, 4, 3, 224, 224).

    Args:
        arrays: (N, ...) for each input, or the array of the only one.

    Raises:
        ValueError: The numbers of samples differ.
    """

    def __init__(self, arrays: NDArray[Any] | Sequence[NDArray[Any]]) -> None:
        self.arrays: Arrays = (arrays,) if isinstance(arrays, np.ndarray) else tuple(arrays)
        if len({len(values) for values in self.arrays}) != 1:
            raise ValueError(
                f"found {[len(values) for values in self.arrays]} samples, allowed: the same of each input"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, which: slice | NDArray[np.integer]) -> Samples:
        """Some of the samples."""
        return Samples([values[which] for values in self.arrays])

    def tensors(self, index: int, shapes: Shapes) -> list[NDArray[Any]]:
        """The full tensors of one sample, one for each input.

        Args:
            index: Of the sample.
            shapes: Of the inputs, see `input_shapes`.
        """
        return [values[index].reshape(shape) for values, shape in zip(self.arrays, shapes, strict=True)]


AnySamples: TypeAlias = "Samples | NDArray[Any] | Sequence[NDArray[Any]]"
"""Samples, or their arrays; a single array for the only input."""


def as_samples(values: AnySamples) -> Samples:
    """Samples as they are, or made of arrays."""
    return values if isinstance(values, Samples) else Samples(values)


def input_shapes(model: ov.Model | ov.CompiledModel) -> list[tuple[int, ...]]:
    """The static shape of each input of a model."""
    return [tuple(port.get_shape()) for port in model.inputs]


def samples_in_batch(model: ov.Model, inputs: Arrays) -> int:
    """Number of samples that one inference of a model takes.

    Args:
        model: The model, with static input shapes or an open batch.
        inputs: (1, ...) for each input of one sample.
    """
    shape = model.input(0).get_partial_shape()
    if shape.is_dynamic:
        return 1
    size = int(np.prod(model.input(0).get_shape(), dtype=np.int64))
    return max(size // max(inputs[0].size, 1), 1)


def input_names(port: ov.Output) -> set[str]:
    """The names that an input may be called by: those of its tensor, and its node's."""
    return set(port.get_names()) | {port.get_node().get_friendly_name()}


def in_order(values: Mapping[Any, Any], model: ov.Model) -> list[Any]:
    """What a mapping has for each input of a model, in the model's order.

    Args:
        values: By name of an input; any name will do where both hold one.
        model: The model.

    Raises:
        ValueError: The name of an input is missing.
    """
    names = [input_names(port) for port in model.inputs]
    if len(names) == len(values) == 1:
        return list(values.values())
    missing = [", ".join(sorted(known)) for known in names if not known & values.keys()]
    if missing:
        found = ", ".join(map(str, values))
        raise ValueError(f"found {found}, allowed: the names of the model's inputs; {missing[0]} is missing")
    return [next(values[name] for name in sorted(known) if name in values) for known in names]


def to_array(value: Any, port: ov.Output) -> NDArray[Any]:
    """An array or tensor as numbers of the type that an input takes: float32, or whole numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    kind = port.get_element_type()
    return np.asarray(value, dtype=np.float32 if kind.is_real() else kind.to_dtype())
