"""Names of torch modules in a configuration, until the model is there and its own names take their place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MODULE: Final = "{module}"
"""Begins a scope that stands for the layers of a module, e.g. `{module}features.0`."""

OUTPUT: Final = "{output}"
"""Begins a scope that stands for an activation, e.g. `{output}layer1.0.relu/relu__1`: the second call of `relu_`."""

_IN_BRACKETS: Final = re.compile(r"\[([^\[\]]+)\]")
"""A module in a scope of NNCF 2, e.g. `features` in `MobileNetV2/Sequential[features]`."""

_OPERATION: Final = re.compile(r"/([^/\[\]]+)_(\d+)$")
_ACTIVATION: Final = re.compile(r"\|(OUTPUT|INPUT\d*)$")


@dataclass(frozen=True)
class ActivationScope:
    """An activation by what it comes from.

    Attributes:
        module: Name of the torch module; empty for an input of the network.
        operation: Name of the operation in NNCF 2, e.g. `relu_`.
        number: Of the call of this operation in the module.
    """

    module: str
    operation: str
    number: int

    @classmethod
    def parse(cls, scope: str) -> ActivationScope:
        """Reads what `activation_scope` has written."""
        module, _, operation = scope.removeprefix(OUTPUT).rpartition("/")
        name, _, number = operation.rpartition("_")
        return cls(module, name, int(number))


def is_of_activation(scope: str) -> bool:
    """Whether a scope of NNCF 2 stands for an activation rather than for weights."""
    return _ACTIVATION.search(scope) is not None


def activation_scope(scope: str) -> str | None:
    """The activation that a scope of NNCF 2 stands for; None where it is no output of an operation."""
    name, _, kind = scope.rpartition("|")
    found = _OPERATION.search(name)
    if kind != "OUTPUT" or found is None:
        return None
    return f"{OUTPUT}{'.'.join(_IN_BRACKETS.findall(name))}/{found[1]}_{found[2]}"


def module_scope(scope: str) -> str | None:
    """The module that a scope of NNCF 2 stands for; None for a pattern, and where it names no module."""
    modules = _IN_BRACKETS.findall(scope)
    return None if scope.startswith("{re}") or not modules else f"{MODULE}{'.'.join(modules)}"
