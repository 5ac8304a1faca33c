"""A quantized model as a torch module, which runs on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from numpy.typing import NDArray

from nncf_mcq.api.headline import headline
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.batching import find_batch_size
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples, in_order, input_shapes, to_array
from nncf_mcq.result import QuantizationResult

MakeOutput = Callable[[tuple[torch.Tensor, ...]], Any]
"""From the outputs of the model to what the float module returned."""


class QuantizedModule(torch.nn.Module):
    """A quantized model that computes what its IR does, on OpenVINO's int8 kernels. It has no parameters to train.

    `nncf_mcq.prepare_training(module.result)` makes a module that trains.

    Args:
        result: The quantized model.
        make_output: From the outputs to what the float module returned.

    Attributes:
        result: The quantized model, its policy and what was measured.
    """

    def __init__(self, result: QuantizationResult, make_output: MakeOutput) -> None:
        super().__init__()
        self.result = result
        self._make_output = make_output
        self._shapes = input_shapes(result.model)
        self._batch_size: int | None = None
        self._runners: dict[int, ModelRunner] = {}

    def extra_repr(self) -> str:
        """Says in `print` what was quantized."""
        return headline(self.result)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuses `pickle`, and so `torch.save`: OpenVINO's models have a file of their own.

        Raises:
            QuantizationError: Always.
        """
        raise QuantizationError("a quantized module: found pickle or torch.save, allowed: its own save(folder)")

    def __copy__(self) -> QuantizedModule:
        return self.__deepcopy__(None)

    def __deepcopy__(self, memo: object) -> QuantizedModule:
        # Nothing in it changes.
        return QuantizedModule(self.result, self._make_output)

    def forward(self, *inputs: Any, **named_inputs: Any) -> Any:
        """Runs the quantized model.

        Args:
            inputs: (N, ...) for each input of the model, any N.
            named_inputs: Those that are given by name.

        Returns:
            The output, on the device of the first input; several as the float module returned them, a tuple or a
            mapping.

        Raises:
            QuantizationError: An input has the wrong shape, or is missing.
        """
        values = self._in_order(inputs, named_inputs)
        device = values[0].device if isinstance(values[0], torch.Tensor) else "cpu"
        ports = self.result.model.inputs
        samples = self._samples([to_array(value, port) for value, port in zip(values, ports, strict=True)])
        outputs = self._runner(samples)(samples.arrays)
        return self._make_output(tuple(torch.from_numpy(output).to(device) for output in outputs))

    def save(self, directory: str | Path) -> Path:
        """Writes the IR and verifies it; see `QuantizationResult.save`."""
        return self.result.save(directory)

    def _in_order(self, inputs: Sequence[Any], named_inputs: dict[str, Any]) -> list[Any]:
        ports = self.result.model.inputs
        if not named_inputs:
            values = list(inputs)
        else:
            names = [min(port.get_names(), default="") for port in ports]
            try:
                values = in_order(dict(zip(names, inputs, strict=False)) | named_inputs, self.result.model)
            except ValueError as error:
                raise QuantizationError(f"the inputs: {error}") from error
        if len(values) != len(ports):
            raise QuantizationError(f"the inputs: found {len(values)}, allowed: the {len(ports)} of the model")
        return values

    def _samples(self, arrays: Sequence[NDArray[Any]]) -> Samples:
        """The inputs with one full tensor of the model's own shape a sample."""
        counts = set()
        for array, shape in zip(arrays, self._shapes, strict=True):
            rows = shape[0] if shape else 1
            if array.ndim != len(shape) or array.shape[1:] != shape[1:] or not len(array) or len(array) % rows:
                allowed = f"({'N' if rows == 1 else f'a multiple of {rows}'}, {', '.join(map(str, shape[1:]))})"
                raise QuantizationError(f"an input of the model: found shape {array.shape}, allowed: {allowed}")
            counts.add(len(array) // rows)
        if len(counts) != 1:
            raise QuantizationError(f"the inputs: found {sorted(counts)} samples, allowed: as many of each input")
        (count,) = counts
        return Samples(
            [
                array if shape[0] == 1 else array.reshape(count, *shape)
                for array, shape in zip(arrays, self._shapes, strict=True)
            ]
        )

    def _runner(self, samples: Samples) -> ModelRunner:
        """A compiled model for as many samples at a time as they allow."""
        runtime = self.result.config.runtime
        if len(samples) == 1:
            size = 1
        else:
            if self._batch_size is None:
                float_model, wanted = self.result.float_model, min(runtime.batch_size, len(samples))
                self._batch_size, _ = find_batch_size(float_model, samples, wanted, runtime.threads)
            size = self._batch_size
        if size not in self._runners:
            self._runners[size] = ModelRunner.compile(self.result.model, runtime.threads, batch_size=size)
        return self._runners[size]


def output_maker(output: Any) -> MakeOutput:
    """How outputs become what a float module returned.

    Args:
        output: Of the float module: a tensor, a sequence of them, or a mapping by name, of any class that can be made
            from keyword arguments, as those of torchvision and transformers.
    """
    if isinstance(output, torch.Tensor):
        return lambda outputs: outputs[0] if len(outputs) == 1 else outputs
    keys = list(output) if hasattr(output, "keys") else None

    def make(outputs: tuple[torch.Tensor, ...]) -> Any:
        if keys is None or len(keys) != len(outputs):
            return outputs
        return type(output)(**dict(zip(keys, outputs, strict=True)))

    return make
