"""Names in the JSON and the classes behind them, open to third parties.

A section of the configuration that has a `type` (`initializer.range`, `initializer.precision`) is looked up here. A
class is registered together with the pydantic model of its parameters, which is what the JSON is checked against::

    from nncf_mcq.registry import RANGE_INITIALIZERS

    @RANGE_INITIALIZERS.register
    class MyRule(RangeInitializer):
        class Parameters(RangeInitializer.Parameters):
            type: Literal["my_rule"] = "my_rule"

A package that declares an entry point in the group `nncf_mcq.plugins` is imported before the CLI reads a configuration,
so its registrations are known there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args

from pydantic import BaseModel, ConfigDict

from nncf_mcq.errors import NncfMcqError

PLUGIN_GROUP = "nncf_mcq.plugins"


class Parameters(BaseModel):
    """Base of every parameter model: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Registrable(Protocol):
    """What a registered class must have: a parameter model whose `type` is a literal, the name in the JSON."""

    Parameters: ClassVar[Any]


RegistrableClass = TypeVar("RegistrableClass", bound=Registrable)


class Registry(Generic[RegistrableClass]):
    """A table of classes by the name that the JSON uses.

    Args:
        kind: What is registered here, in words, for messages: "range initializer".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[RegistrableClass]] = {}

    def register(self, registered: type[RegistrableClass]) -> type[RegistrableClass]:
        """Registers a class under the literal of its `Parameters.type`; usable as a decorator.

        Raises:
            NncfMcqError: The class has no such literal, or another class has the name.
        """
        field = registered.Parameters.model_fields.get("type")
        names = get_args(field.annotation) if field is not None else ()
        if len(names) != 1 or not isinstance(names[0], str):
            raise NncfMcqError(
                f"{registered.__name__}.Parameters must declare `type: Literal[NAME] = NAME` to be a {self.kind}"
            )
        name = names[0]
        known = self._classes.get(name)
        if known is not None and known.__qualname__ != registered.__qualname__:
            raise NncfMcqError(f"a {self.kind} named {name!r} is registered already: {known.__qualname__}")
        self._classes[name] = registered
        return registered

    def unregister(self, name: str) -> None:
        """Removes a name; unknown names are ignored."""
        self._classes.pop(name, None)

    def create(self, parameters: Any) -> RegistrableClass:
        """Instantiates the class that belongs to validated parameters."""
        return self._classes[parameters.type](parameters)  # type: ignore[call-arg]

    def __getitem__(self, name: str) -> type[RegistrableClass]:
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))


def load_plugins() -> None:
    """Imports every installed package that declares an entry point in the group `nncf_mcq.plugins`."""
    for entry_point in metadata.entry_points(group=PLUGIN_GROUP):
        entry_point.load()


RANGE_INITIALIZERS: Registry[Any] = Registry("range initializer")
PRECISION_INITIALIZERS: Registry[Any] = Registry("precision initializer")
