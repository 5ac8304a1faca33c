"""Whether samples may share an inference: a first dimension is a batch only where that changes no output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.config.types import SampleSize
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import AnySamples, Arrays, as_samples, input_names

TOLERANCE: Final = 1e-4
"""Largest difference of an output from that of the sample alone, relative to the output's largest magnitude.

Kernels of other batch sizes add float32 numbers in another order: in deep networks that is some 1e-6 of the largest
output. A model that computes across samples differs by parts of its outputs.
"""


def find_batch_size(model: ov.Model, samples: AnySamples, wanted: int, threads: int) -> tuple[int, str]:
    """The number of samples that an inference may take, found by running them together and alone.

    Args:
        model: The float model; not edited.
        samples: Of the model, different ones.
        wanted: The largest number.
        threads: Inference threads.

    Returns:
        The smaller of the numbers wanted and of the samples, or 1 where they cannot share an inference; and then why.
    """
    known = as_samples(samples)
    size = min(wanted, len(known))
    if size == 1:
        return 1, ""
    reason = why_not_together(model, known[:size], threads)
    return (1, reason) if reason else (size, "")


def why_not_together(model: ov.Model, samples: AnySamples, threads: int) -> str:
    """The reason why samples cannot share an inference; empty where they can.

    Args:
        model: The float model; not edited.
        samples: All are run, together and alone.
        threads: Inference threads.
    """
    known = as_samples(samples)
    try:
        together = ModelRunner.compile(model, threads, batch_size=len(known))
    except QuantizationError as error:
        return str(error)
    # Each output as it comes: where one sample alone has no batch in it, several must not look as if they had one.
    outputs = together.batches(known.arrays)[0]
    alone = ModelRunner.compile(model, threads, batch_size=1)(known.arrays)
    differing = _differing(outputs, alone)
    return f"output {differing} depends on what else is in the batch" if differing is not None else ""


def single_batch(model: ov.Model, shapes: Sequence[Sequence[int]]) -> list[list[int]]:
    """The shapes of one sample of a model whose inputs have a batch of several in the first dimension.

    A batch of 1 is tried: where the model can be reshaped, and gives for each part of random inputs what it gives for
    all of them together, the parts are samples of their own.

    Args:
        model: A float model that accepts the shapes; not edited.
        shapes: The static shape of each input.

    Returns:
        The shapes with 1 in the first dimension, or as they are.
    """
    first = {shape[0] if shape else 1 for shape in shapes}
    if len(first) != 1 or first == {1}:
        return [list(shape) for shape in shapes]
    single = [[1, *shape[1:]] for shape in shapes]
    whole, parts = model.clone(), model.clone()
    try:
        whole.reshape({number: ov.PartialShape(list(shape)) for number, shape in enumerate(shapes)})
        parts.reshape({number: ov.PartialShape(shape) for number, shape in enumerate(single)})
    except RuntimeError:
        return [list(shape) for shape in shapes]
    inputs = _random_inputs(whole)
    together = ModelRunner(compile_model(whole, 1), batch_size=1)([values[None] for values in inputs])
    alone = ModelRunner(compile_model(parts, 1))(inputs)
    return single if _differing(together, alone) is None else [list(shape) for shape in shapes]


def sample_shapes(model: ov.Model, sample_size: SampleSize | None) -> dict[int, ov.PartialShape]:
    """The static shape of each input for one sample; an open first dimension is a batch, of which 1 is taken.

    Args:
        model: A float model; not edited.
        sample_size: Shapes that the user gave; those of the model where there are none.

    Returns:
        Number of the input to its shape.

    Raises:
        ConfigError: A shape is needed and missing, or names no input.
    """
    known = [port.get_partial_shape() for port in model.inputs]
    for number, given in _given(model, sample_size).items():
        known[number] = ov.PartialShape(list(given))
    shapes = []
    for number, shape in enumerate(known):
        of = "" if len(known) == 1 else f" {_shown_name(model.input(number))}"
        if shape.rank.is_dynamic:
            raise ConfigError("input_info.sample_size", None, f"the shape of one input{of}, e.g. [1, 3, 224, 224]")
        if len(shape) and shape[0].is_dynamic:
            shape = ov.PartialShape([1, *list(shape)[1:]])
        if shape.is_dynamic:
            allowed = f"the shape of one input{of}: the model leaves {shape} open"
            raise ConfigError("input_info.sample_size", None, allowed)
        shapes.append([int(length) for length in shape.to_shape()])
    return {number: ov.PartialShape(shape) for number, shape in enumerate(single_batch(model, shapes))}


def shapes_of(example_input: Any) -> SampleSize | None:
    """The shapes of an example input: a tensor, or a sequence or mapping by name of tensors; None for others."""
    if hasattr(example_input, "shape"):
        return list(example_input.shape)
    if isinstance(example_input, Mapping):
        items: list[tuple[str | int, Any]] = list(example_input.items())
    elif isinstance(example_input, list | tuple):
        items = list(enumerate(example_input))
    else:
        return None
    return (
        {key: list(value.shape) for key, value in items} if all(hasattr(value, "shape") for _, value in items) else None
    )


def with_shapes(sample_size: SampleSize, make: Callable[[Sequence[int]], Any]) -> Any:
    """An example input: one value, a dictionary where every shape has a name, or a tuple.

    Args:
        sample_size: The shapes.
        make: From a shape to the value of that input.
    """
    if not isinstance(sample_size, Mapping):
        return make(sample_size)
    made = {key: make(shape) for key, shape in sample_size.items()}
    return made if all(isinstance(key, str) for key in made) else tuple(made.values())


def _given(model: ov.Model, sample_size: SampleSize | None) -> dict[int, Sequence[int]]:
    if sample_size is None:
        return {}
    if not isinstance(sample_size, Mapping):
        if len(model.inputs) == 1:
            return {0: sample_size}
        names = ", ".join(map(_shown_name, model.inputs))
        raise ConfigError("input_info", "one input", f"a list with an object for each input of the model: {names}")
    found: dict[int, Sequence[int]] = {}
    for key, shape in sample_size.items():
        numbers = [number for number, port in enumerate(model.inputs) if key == number or key in input_names(port)]
        if not numbers:
            names = ", ".join(map(_shown_name, model.inputs))
            path = f"input_info[{list(sample_size).index(key)}].keyword"
            raise ConfigError(path, key, f"one of the {len(model.inputs)} inputs of the model: {names}")
        found[numbers[0]] = shape
    return found


def _shown_name(port: ov.Output) -> str:
    return str(min(port.get_names(), default=port.get_node().get_friendly_name()))


def _differing(together: Arrays, alone: Arrays) -> int | None:
    """The number of the first output that is not the same; None if all are."""
    for number, (found, expected) in enumerate(zip(together, alone, strict=True)):
        if found.shape != expected.shape:
            return number
        if not expected.size:
            continue
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        if not np.allclose(found, expected, rtol=0, atol=TOLERANCE * float(scale), equal_nan=True):
            return number
    return None


def _random_inputs(model: ov.Model) -> list[NDArray[np.generic]]:
    """Standard normal numbers; 0 and 1 where numbers are whole: those index the smallest of tables."""
    generator = np.random.default_rng(0)
    inputs: list[NDArray[np.generic]] = []
    for port in model.inputs:
        kind, shape = port.get_element_type(), tuple(port.get_shape())
        values = generator.standard_normal(shape) if kind.is_real() else generator.integers(0, 2, shape)
        inputs.append(values.astype(np.float32 if kind.is_real() else kind.to_dtype()))
    return inputs
