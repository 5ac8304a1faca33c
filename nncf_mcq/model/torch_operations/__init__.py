"""OpenVINO operations as PyTorch functions; all that vary with the input keep the batch in the first dimension.

A module for each family of operations; each has a table of them.
"""

from __future__ import annotations

import openvino as ov

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.torch_operations import elementwise, interpolation, matrices, recurrent, shapes, windows
from nncf_mcq.model.torch_operations.base import Builder, Function

__all__ = ["Function", "to_function"]

_BUILDERS: dict[str, Builder] = {
    name: build
    for family in (elementwise, windows, matrices, shapes, interpolation, recurrent)
    for name, build in family.BUILDERS.items()
}


def to_function(operation: ov.Node) -> Function:
    """The function that computes an operation; it does not keep the operation.

    Args:
        operation: Of a model with static shapes, whose constants are folded.

    Raises:
        QuantizationError: The operation or one of its attributes is not supported.
    """
    kind = operation.get_type_name()
    if kind not in _BUILDERS:
        name = operation.get_friendly_name()
        raise QuantizationError(f"{name}: found operation {kind}, allowed: {', '.join(sorted(_BUILDERS))}")
    return _BUILDERS[kind](operation)
