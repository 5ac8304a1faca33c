"""Residual connections: what is added to the output of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import openvino as ov

from nncf_mcq.model.nodes import consumers, is_constant, operations_by_name


@dataclass(frozen=True)
class Residual:
    """A value that is added to the output of a layer.

    Attributes:
        addition: Friendly name of the operation.
        port: Its input port of the value.
    """

    addition: str
    port: int

    def of(self, model: ov.Model) -> ov.Output:
        """The value in a model that has an operation of this name."""
        return operations_by_name(model)[self.addition].input_value(self.port)


def find_residual(operation: ov.Node) -> Residual | None:
    """What is added to the output of a layer, besides a bias; None where the output goes anywhere else, too.

    Args:
        operation: The layer's operation in a float model.
    """
    value = operation.output(0)
    while True:
        readers = list(consumers(value))
        if len(readers) != 1 or readers[0][0].get_type_name() != "Add":
            return None
        addition, port = readers[0]
        if not is_constant(addition, 1 - port):
            same = addition.get_input_partial_shape(0) == addition.get_input_partial_shape(1)
            return Residual(addition.get_friendly_name(), 1 - port) if same else None
        value = addition.output(0)
