"""A float `openvino.Model` as a differentiable PyTorch module: for gradients of models that come as IR or ONNX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
import openvino.passes
import torch
from torch import Tensor

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.nodes import LAYER_TYPES
from nncf_mcq.model.samples import input_shapes
from nncf_mcq.model.torch_operations import Function, to_function

_WEIGHT_PORTS = {kind: ports for kind, ports in WEIGHT_PORTS.items() if kind in LAYER_TYPES} | {"MatMul": (1,)}
"""Types of operations with weights to the input ports where these are."""


@dataclass(frozen=True)
class _Step:
    """One operation; a value is known by its number.

    Attributes:
        name: Friendly name of the operation.
        weight_ports: Input ports of its constant weights.
        function: What computes it.
        inputs: The values it reads, one for each port.
        outputs: The values it computes.
        shapes: Static shapes of the outputs.
        released: The values that no later step reads.
    """

    name: str
    weight_ports: tuple[int, ...]
    function: Function
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    released: tuple[int, ...]


class TorchGraph(torch.nn.Module):
    """Computes the outputs of a model with PyTorch.

    The constants are buffers: `double()` gives a model in float64. They require no gradients; to differentiate by a
    weight, give it in `weights`.

    Args:
        model: A float model with static shapes, the batch in the first dimension of each input where it is to be run
            with other batches; not edited.
        functions: Friendly names of operations to what computes them, instead of their own function.

    Raises:
        QuantizationError: The model's shapes are dynamic, or an operation is not supported.
    """

    def __init__(self, model: ov.Model, functions: Mapping[str, Function] | None = None) -> None:
        super().__init__()
        if model.is_dynamic():
            raise QuantizationError("the model's shapes are dynamic: reshape it first, if it can be")
        self._input_shapes = input_shapes(model)
        if not all(self._input_shapes):
            raise QuantizationError("the model's input is a scalar: a batch is needed")
        self._steps, constants, self._results = _read(model, functions or {})
        self._constants = tuple(constants)
        for number, value in constants.items():
            self.register_buffer(f"constant_{number}", value, persistent=False)
        self._weights = {
            step.name: [step.inputs[port] for port in step.weight_ports] for step in self._steps if step.weight_ports
        }

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the operations with constant weights, in topological order."""
        return tuple(self._weights)

    def weight(self, name: str) -> Tensor:
        """The constant weight of an operation, in the operation's own shape; not to be edited.

        Of a recurrent operation its weights of inputs and of hidden states, side by side.

        Raises:
            QuantizationError: No operation with constant weights has this name.
        """
        if name not in self._weights:
            raise QuantizationError(
                f"found {name!r}, allowed: a layer with constant weights, one of {', '.join(self._weights)}"
            )
        parts = [self._constant(number) for number in self._weights[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        *,
        weights: Mapping[str, Tensor] | None = None,
        observe: Callable[[str, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The first of `outputs`."""
        return self.outputs(inputs, weights=weights, observe=observe)[0]

    def outputs(
        self,
        inputs: Tensor | Sequence[Tensor],
        *,
        weights: Mapping[str, Tensor] | None = None,
        observe: Callable[[str, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """Runs the model.

        Args:
            inputs: (N, ...) for each input, or that of the only one; N need not be the model's own batch size.
            weights: Friendly names of operations to tensors that stand in for their constant weights, in the shape
                of `weight`.
            observe: Called with the friendly name and the output of each operation with constant weights; what it
                returns takes the output's place.

        Returns:
            The outputs, in the model's order.

        Raises:
            QuantizationError: The inputs or a weight have the wrong shape, or the model computes across images and N is
                not its own batch size.
        """
        weights = weights or {}
        given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if len(given) != len(self._input_shapes):
            raise QuantizationError(f"inputs: found {len(given)}, allowed: {len(self._input_shapes)}")
        batch_size = len(given[0])
        # Inputs without a batch stay as they are.
        is_own = [tuple(tensor.shape) for tensor in given] == self._input_shapes
        for tensor, own in zip(given, self._input_shapes, strict=True):
            if not is_own and (tensor.shape[1:] != own[1:] or len(tensor) != batch_size):
                raise QuantizationError(f"inputs: found shape {tuple(tensor.shape)}, allowed: {('N', *own[1:])}")
        for name, weight in weights.items():
            allowed = tuple(self.weight(name).shape)
            if weight.shape != allowed:
                raise QuantizationError(f"{name}: found weights of shape {tuple(weight.shape)}, allowed: {allowed}")
        values = {**dict(enumerate(given)), **{number: self._constant(number) for number in self._constants}}
        for step in self._steps:
            arguments = [values[number] for number in step.inputs]
            if step.weight_ports and step.name in weights:
                sizes = [arguments[port].shape[-1] for port in step.weight_ports]
                for port, part in zip(step.weight_ports, _split(weights[step.name], sizes), strict=True):
                    arguments[port] = part
            results = _as_sequence(step.function(*arguments))
            del arguments
            self._check_shapes(step, results, batch_size)
            if step.weight_ports and observe is not None:
                results = (observe(step.name, results[0]), *results[1:])
            values.update(zip(step.outputs, results, strict=False))
            del results
            for number in step.released:
                values.pop(number, None)
        return tuple(values[result] for result in self._results)

    def _constant(self, number: int) -> Tensor:
        return self.get_buffer(f"constant_{number}")

    def _check_shapes(self, step: _Step, results: Sequence[Tensor], batch_size: int) -> None:
        """Each value must be the model's own with N images in the first dimension: else images were mixed up."""
        own = self._input_shapes[0][0]
        for value, shape in zip(results, step.shapes, strict=False):
            if batch_size != own and shape[:1] == (own,):
                shape = (batch_size, *shape[1:])
            elif batch_size != own:
                raise QuantizationError(
                    f"{step.name}: its output {shape} has no batch in the first dimension: found a batch of "
                    f"{batch_size}, allowed: {own}"
                )
            if value.shape != shape:
                raise QuantizationError(f"{step.name}: found an output of shape {tuple(value.shape)}, allowed: {shape}")


def _split(weight: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    return (weight,) if len(sizes) == 1 else torch.split(weight, sizes, dim=-1)


def _as_sequence(results: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return (results,) if isinstance(results, Tensor) else results


def _read(
    model: ov.Model, functions: Mapping[str, Function]
) -> tuple[tuple[_Step, ...], dict[int, Tensor], tuple[int, ...]]:
    """The steps in topological order, the constants that they read, and the results' numbers; inputs have the first."""
    folded = model.clone()
    for operation in folded.get_ops():
        # The torch frontend marks them as not to be folded, although all shapes are static now.
        if operation.get_type_name() == "ShapeOf":
            shape = ov.op.Constant(
                np.array(operation.get_input_shape(0), operation.get_output_element_type(0).to_dtype())
            )
            for target in operation.output(0).get_target_inputs():
                target.replace_source_output(shape.output(0))
    manager = openvino.passes.Manager()
    manager.register_pass(openvino.passes.ConstantFolding())
    manager.run_passes(folded)
    numbers = {(parameter.get_name(), 0): number for number, parameter in enumerate(folded.get_parameters())}
    constants: dict[int, Tensor] = {}
    steps: list[_Step] = []
    for operation in folded.get_ordered_ops():
        kind = operation.get_type_name()
        if kind in ("Parameter", "Result"):
            continue
        read = tuple(numbers[_key(value)] for value in operation.input_values())
        computed = tuple(numbers.setdefault(_key(output), len(numbers)) for output in operation.outputs())
        if kind == "Constant":
            constants[computed[0]] = _tensor(operation)
            continue
        function = functions.get(operation.get_friendly_name()) or to_function(operation)
        if read and all(number in constants for number in read):
            # OpenVINO does not fold what it would rather store, e.g. the decompression of float16 weights.
            results = _as_sequence(function(*(constants[number] for number in read)))
            constants.update(zip(computed, results, strict=False))
            continue
        ports = _WEIGHT_PORTS.get(kind, ())
        weight_ports = ports if all(read[port] in constants for port in ports) else ()
        shapes = tuple(tuple(output.get_shape()) for output in operation.outputs())
        steps.append(_Step(operation.get_friendly_name(), weight_ports, function, read, computed, shapes, ()))
    last = tuple(numbers[_key(result.input_value(0))] for result in folded.get_results())
    needed = {*last, *(number for step in steps for number in step.inputs)}
    constants = {number: value for number, value in constants.items() if number in needed}
    return _with_releases(steps, last), constants, last


def _with_releases(steps: Sequence[_Step], results: Sequence[int]) -> tuple[_Step, ...]:
    """Tells each step which values nothing reads after it."""
    seen = set(results)
    reversed_steps: list[_Step] = []
    for step in reversed(steps):
        released = {*step.inputs, *step.outputs} - seen
        seen |= released
        reversed_steps.append(dataclasses.replace(step, released=tuple(released)))
    return tuple(reversed(reversed_steps))


def _key(output: ov.Output) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def _tensor(constant: ov.Node) -> Tensor:
    """A copy: float32 for every float type, int64 for every integer."""
    kind = constant.get_output_element_type(0)
    if kind.is_real():
        return torch.from_numpy(np.array(constant.get_data(dtype=np.float32)))
    return torch.from_numpy(np.array(constant.get_data(dtype=np.bool_ if kind == ov.Type.boolean else np.int64)))
