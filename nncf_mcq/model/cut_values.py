"""Values of a network that all that comes after them depends on alone: where it can be run in two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import openvino as ov

from nncf_mcq.model.layer_forms import STATE_PORTS
from nncf_mcq.model.nodes import LAYER_TYPES, constant_operations, operations_by_name


@dataclass(frozen=True)
class CutValue:
    """A value that nothing before it passes by.

    Attributes:
        operation: Friendly name of the operation that computes it.
        port: Number of its output.
    """

    operation: str
    port: int

    def of(self, model: ov.Model) -> ov.Output:
        """The value in a model that has an operation of this name."""
        return operations_by_name(model)[self.operation].output(self.port)


def find_cut_values(model: ov.Model, layers: Sequence[str]) -> dict[str, CutValue]:
    """For each layer the last value that it and all later layers depend on alone, besides constants.

    Args:
        model: A model; the outputs of its parts do not count as what depends on a value.
        layers: Friendly names of operations in an order in which none depends on a later one.

    Returns:
        Name of the layer to its value. Layers before the first one have none, and none has one in a model with states
        or with two operations of one name.
    """
    operations = [item for item in model.get_ordered_ops() if item.get_type_name() != "Result"]
    position = {item.get_friendly_name(): number for number, item in enumerate(operations)}
    if model.get_sinks() or len(position) < len(operations):
        return {}
    cuts = _cuts(operations, constant_operations(model))
    found: dict[str, CutValue] = {}
    first = len(operations)
    for name in reversed(layers):
        # Not only before this layer: before each of the later ones, too.
        first = min(first, position[name])
        last = max((number for number in cuts if number < first), default=None)
        if last is not None:
            found[name] = cuts[last]
    return found


def part_from(model: ov.Model, cut: CutValue | None, *values: ov.Output) -> ov.Model:
    """The part of a model that computes some of its values from another one.

    Args:
        model: The model; it is used up.
        cut: The value that the part gets; None for the model's own inputs.
        values: What it computes, values of the model.
    """
    if cut is None:
        return ov.Model([ov.opset13.result(value) for value in values], model.get_parameters(), "part")
    start = cut.of(model)
    parameter = ov.opset13.parameter(start.get_partial_shape(), start.get_element_type())
    computed = [parameter.output(0) if value == start else value for value in values]
    for target in start.get_target_inputs():
        target.replace_source_output(parameter.output(0))
    return ov.Model([ov.opset13.result(value) for value in computed], [parameter], "part")


def passes_a_quantizer(model: ov.Model, cut: CutValue) -> bool:
    """Whether a recurrent layer reads a value, or what is made of it, with no quantizer and no layer in between.

    If the value comes from the quantizer of the layer's input, a part that begins with it has lost the quantizer, and
    the CPU plugin does not compile recurrent layers with int8 weights and inputs that are not quantized.

    Args:
        model: A quantized model, in which the value is.
        cut: The value.
    """
    start, seen = cut.of(model), set[str]()
    pending = [item.input_value(0) for item in model.get_ops() if item.get_type_name() in STATE_PORTS]
    while pending:
        value = pending.pop()
        if value == start:
            return True
        node = value.get_node()
        if node.get_type_name() not in ("FakeQuantize", *LAYER_TYPES) and node.get_name() not in seen:
            seen.add(node.get_name())
            pending += node.input_values()
    return False


def _cuts(operations: Sequence[ov.Node], constant: Set[str]) -> dict[int, CutValue]:
    """Position in the order to the only value that is still read after it; each value once, as early as it can be."""
    last_use = _last_uses(operations, constant)
    # Inputs are there from the beginning, wherever they stand in the order.
    inputs = {CutValue(item.get_friendly_name(), 0) for item in operations if item.get_type_name() == "Parameter"}
    alive = inputs & last_use.keys()
    found: dict[int, CutValue] = {}
    known = set(inputs)
    for number, operation in enumerate(operations):
        values = {CutValue(operation.get_friendly_name(), port) for port in range(operation.get_output_size())}
        alive |= values & last_use.keys()
        alive -= {value for value in alive if last_use[value] <= number}
        if len(alive) == 1 and not alive <= known:
            known |= alive
            (found[number],) = alive
    return found


def _last_uses(operations: Sequence[ov.Node], constant: Set[str]) -> Mapping[CutValue, int]:
    """Values that are no constants, and the position of the last operation that reads them; those that one reads."""
    return {
        CutValue(value.get_node().get_friendly_name(), value.get_index()): number
        for number, operation in enumerate(operations)
        for value in operation.input_values()
        if value.get_node().get_name() not in constant
    }
