"""The inputs that a function of the user passes through a float module: the calibration samples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch

from nncf_mcq.errors import QuantizationError
from nncf_mcq.inc.quantized_module import MakeOutput, output_maker

Item: TypeAlias = "torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]"
"""The inputs of one call: of one input, of several, or by name of the parameter of `forward`."""


class InputRecorder:
    """Keeps copies of the first inputs of a module.

    Args:
        module: Is observed until `stop`.
        limit: Number of samples.
        example_inputs: One sample; where there is none, each row along the first dimension is one.
    """

    def __init__(self, module: torch.nn.Module, limit: int, example_inputs: Any = None) -> None:
        self.items: list[Item] = []
        # Until the module has returned something: a run_fn may leave it early, by an exception.
        self.make_output: MakeOutput = output_maker(torch.empty(0))
        self._has_returned = False
        self._rows_of_sample = 1 if example_inputs is None else _rows(example_inputs)
        self._rows_missing = limit * self._rows_of_sample
        self._handles = [
            module.register_forward_pre_hook(self._record, with_kwargs=True),
            module.register_forward_hook(self._see_output),
        ]

    def stop(self) -> None:
        """Lets go of the module."""
        for handle in self._handles:
            handle.remove()

    def first_sample(self) -> Item:
        """The first sample: an input to trace the module with."""
        item, rows = self.items[0], self._rows_of_sample
        if isinstance(item, Mapping):
            return {name: value[:rows] for name, value in item.items()}
        return item[:rows] if isinstance(item, torch.Tensor) else tuple(value[:rows] for value in item)

    def _record(self, module: torch.nn.Module, inputs: tuple[Any, ...], named_inputs: dict[str, Any]) -> None:
        if self._rows_missing <= 0:
            return
        given = {name: value for name, value in named_inputs.items() if value is not None}
        # By name where one is: OpenVINO names the inputs after the parameters.
        named = inspect.signature(module.forward).bind(*inputs, **given).arguments if given else dict(enumerate(inputs))
        values = {name: _copied(value, name) for name, value in named.items()}
        if given:
            item: Item = {str(name): value for name, value in values.items()}
        else:
            item = values[0] if len(values) == 1 else tuple(values.values())
        self.items.append(item)
        self._rows_missing -= _rows(item)

    def _see_output(self, module: torch.nn.Module, inputs: object, output: Any) -> None:
        if not self._has_returned:
            self.make_output, self._has_returned = output_maker(output), True


def arguments_of(item: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Positional and named arguments of a call with an item."""
    if isinstance(item, Mapping):
        return (), item
    return (tuple(item), {}) if isinstance(item, list | tuple) else ((item,), {})


def _copied(value: Any, name: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or not value.ndim:
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise QuantizationError(f"input {name} of the model: found {found}, allowed: a tensor (batch, ...)")
    return value.detach().cpu().clone()


def _rows(item: Any) -> int:
    """Rows along the first dimension of the first input."""
    arguments, named = arguments_of(item)
    first = next(iter([*arguments, *named.values()]))
    return len(first) if getattr(first, "ndim", 0) else 1
