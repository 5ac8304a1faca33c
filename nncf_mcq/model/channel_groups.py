"""Values whose channels can be multiplied by one factor each without an operation: layers on both sides absorb it."""

from __future__ import annotations

from dataclasses import dataclass

import openvino as ov

from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.nodes import (
    constant_value,
    consumers,
    has_own_constant,
    is_constant,
    operations_by_name,
    value_name,
)
from nncf_mcq.utils.disjoint_sets import merge_overlapping

_HOMOGENEOUS = frozenset(
    {
        *("Relu", "PRelu", "Multiply", "Divide"),
        *("AvgPool", "MaxPool", "ReduceMean", "Interpolate"),
        *("Reshape", "Squeeze", "Unsqueeze"),
    }
)
"""Operations whose output is multiplied by what their first input is multiplied by, if that is positive.

Where they keep the channels, see `_keeps_channels`.
"""

_SUMS = frozenset({"Add", "Subtract"})


@dataclass(frozen=True)
class ChannelGroup:
    """Values that have the same channels, all that makes them and all that reads them.

    With the channels of all of them multiplied by positive factors, layers after them compute what they did before.

    Attributes:
        channels: Number of channels.
        producers: Names of the layers whose outputs are of the group: their weights are multiplied.
        terms: (operation, input port) of the constants that are added, biases above all: these are multiplied, too.
        readers: Names of the layers whose inputs are of the group: their weights are divided.
    """

    channels: int
    producers: tuple[str, ...]
    terms: tuple[tuple[str, int], ...]
    readers: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the first layer that makes one of the values."""
        return self.producers[0]


def find_channel_groups(quantizable: QuantizableModel) -> list[ChannelGroup]:
    """The groups of values of which layers alone, on both sides, know the unit of each channel.

    A stream of residual sums is one group, all of its branches included. Values that a layer of several groups of
    channels reads are left out, since its weights have a scale for each of their few inputs anyway.

    Args:
        quantizable: The float model and its layers.

    Returns:
        In topological order of their first layers, those of several channels.
    """
    values = _Values(quantizable)
    for operation in quantizable.model.get_ordered_ops():
        values.add(operation)
    return values.groups()


class _Values:
    """Values in disjoint sets of those that have one unit for each channel."""

    def __init__(self, quantizable: QuantizableModel) -> None:
        operations = operations_by_name(quantizable.model)
        self._layers = {
            layer.name: layer
            for layer in quantizable.layers
            if (layer.is_convolution or layer.kind == "matmul")
            and has_own_constant(operations[layer.name], layer.weight_port)
        }
        self._joined: list[tuple[str, str]] = []
        self._fixed: set[str] = set()
        self._producers: dict[str, str] = {}
        self._readers: dict[str, list[str]] = {}
        self._terms: dict[str, tuple[str, int]] = {}

    def add(self, operation: ov.Node) -> None:
        """Takes up one operation, after all before it."""
        kind = operation.get_type_name()
        layer = self._layers.get(operation.get_friendly_name())
        if layer is not None and _has_channels_second(layer, operation):
            self._add_layer(layer, operation)
        elif kind in _SUMS and _is_elementwise(operation):
            self._add_sum(operation)
        elif kind in _HOMOGENEOUS and _keeps_channels(operation):
            self._joined.append((value_name(operation.input_value(0)), value_name(operation.output(0))))
        else:
            self._fixed.update(value_name(value) for value in (*operation.input_values(), *operation.outputs()))

    def groups(self) -> list[ChannelGroup]:
        """What was found."""
        number = {}
        for index, keys in enumerate(merge_overlapping([*self._joined, *([key] for key in self._producers)])):
            number.update(dict.fromkeys(keys, index))
        found = []
        for index in dict.fromkeys(number[key] for key in self._producers):
            members = {key for key in number if number[key] == index}
            producers = tuple(layer for key, layer in self._producers.items() if key in members)
            readers = tuple(layer for key, layers in self._readers.items() if key in members for layer in layers)
            terms = tuple(term for key, term in self._terms.items() if key in members)
            channels = {self._layers[name].output_channels for name in producers}
            if members.isdisjoint(self._fixed) and readers and channels != {1}:
                found.append(ChannelGroup(max(channels), producers, terms, readers))
        return found

    def _add_layer(self, layer: QuantizableLayer, operation: ov.Node) -> None:
        data = value_name(operation.input_value(layer.data_port))
        self._producers[value_name(operation.output(0))] = layer.name
        if layer.kind in ("convolution", "matmul"):
            self._readers.setdefault(data, []).append(layer.name)
        else:
            self._fixed.add(data)

    def _add_sum(self, operation: ov.Node) -> None:
        output = value_name(operation.output(0))
        for port in (0, 1):
            if is_constant(operation, port):
                self._terms[output] = (operation.get_friendly_name(), port)
            else:
                self._joined.append((value_name(operation.input_value(port)), output))


def _has_channels_second(layer: QuantizableLayer, operation: ov.Node) -> bool:
    """Whether the second axis of its input and of its output are channels."""
    if layer.is_convolution:
        return True
    return len(operation.get_output_shape(0)) == 2 and not bool(operation.get_attributes()["transpose_a"])


def _is_elementwise(operation: ov.Node) -> bool:
    """Whether a sum keeps the channels of all of its terms that are not constant."""
    output = tuple(operation.get_output_shape(0))
    terms = [port for port in (0, 1) if not is_constant(operation, port)]
    same = all(tuple(operation.get_input_shape(port)) == output for port in terms)
    return len(output) >= 2 and bool(terms) and same


def _keeps_channels(operation: ov.Node) -> bool:
    """Whether the second axis of the first input is that of the output, and nothing else moves into it."""
    before, after = tuple(operation.get_input_shape(0)), tuple(operation.get_output_shape(0))
    if len(before) < 2 or len(after) < 2 or before[:2] != after[:2]:
        return False
    kind = operation.get_type_name()
    if kind in ("Reshape", "Squeeze", "Unsqueeze"):
        # Only positions are dropped or gained, of which there is one.
        return all(size == 1 for size in before[2:])
    if kind == "ReduceMean":
        axes = constant_value(operation, 1).flat if is_constant(operation, 1) else [0]
        return all(int(axis) % len(before) > 1 for axis in axes)
    if kind == "PRelu":
        return is_constant(operation, 1)
    if kind == "MaxPool":
        return not any(list(consumers(output)) for output in operation.outputs()[1:])
    if kind in ("Multiply", "Divide"):
        return before == after and is_constant(operation, 1)
    return True
