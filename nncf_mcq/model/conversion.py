"""From PyTorch to OpenVINO: modules are traced, exported programs are read."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openvino as ov

from nncf_mcq.config.types import SampleSize
from nncf_mcq.errors import ConfigError, ConversionError, reason_of
from nncf_mcq.model.batching import with_shapes

if TYPE_CHECKING:
    import torch

_LONGEST_REASON = 1000
"""Characters of what OpenVINO says: it lists operations that it does not know."""


def convert_module(module: torch.nn.Module, sample_size: SampleSize | None, example_input: Any) -> ov.Model:
    """Traces a module in evaluation mode; one in another precision than float32 as a copy in float32.

    Args:
        module: The module; not edited.
        sample_size: Shape of the input with the batch dimension, or those of several.
        example_input: A tensor (or tuple of tensors) to trace with; zeros of `sample_size` if None.

    Raises:
        ConfigError: Both are missing.
        ConversionError: OpenVINO cannot convert the module.
    """
    import torch

    if example_input is None:
        if sample_size is None:
            raise ConfigError("input_info.sample_size", None, "the shape of one input, e.g. [1, 3, 224, 224]")
        try:
            example_input = with_shapes(sample_size, lambda shape: torch.zeros(list(shape)))
        except RuntimeError as error:
            raise ConfigError("input_info.sample_size", sample_size, "an input that fits into memory") from error
    if any(value.is_floating_point() and value.dtype != torch.float32 for value in module.state_dict().values()):
        # Batch normalizations are folded at conversion: in half precision that would round the weights.
        module, example_input = copy.deepcopy(module).float(), _as_float32(example_input)
    training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        return _convert(module, example_input=example_input)
    finally:
        for part, was_training in training:
            part.training = was_training


def convert_program(program: torch.export.ExportedProgram) -> ov.Model:
    """Converts an exported program.

    Raises:
        ConversionError: OpenVINO cannot convert it.
    """
    return _convert(program)


def example_shape(program: torch.export.ExportedProgram) -> list[int] | None:
    """Shape of the tensor that a program was exported with, where there is one tensor."""
    positional, named = program.example_inputs if program.example_inputs is not None else ((), {})
    shapes = [list(value.shape) for value in (*positional, *named.values()) if hasattr(value, "shape")]
    return shapes[0] if len(shapes) == 1 else None


def _convert(source: torch.nn.Module | torch.export.ExportedProgram, **options: Any) -> ov.Model:
    import torch

    with warnings.catch_warnings(), torch.no_grad(), _same_root_logger():
        # The tracer announces its own deprecation, which OpenVINO's users can do nothing about.
        warnings.simplefilter("ignore")
        try:
            return ov.convert_model(source, **options)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the frontend raises many kinds, and what it traces is the user's
            reason = reason_of(error, _LONGEST_REASON)
            raise ConversionError(f"OpenVINO cannot convert the torch model: {reason}") from error


@contextmanager
def _same_root_logger() -> Iterator[None]:
    """OpenVINO sets up the root logger for errors alone, and leaves it so where a conversion fails."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)


def _as_float32(value: Any) -> Any:
    """An example input with its floating-point tensors in float32."""
    if isinstance(value, list | tuple):
        return type(value)(_as_float32(item) for item in value)
    if isinstance(value, dict):
        return {name: _as_float32(item) for name, item in value.items()}
    return value.float() if hasattr(value, "is_floating_point") and value.is_floating_point() else value
