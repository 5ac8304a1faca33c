"""Names in the JSON and the classes behind them, open to third parties.

A section of the configuration that has a `type` (`initializer.range`, `initializer.precision`, `activations.range`,
`dataset`) is looked up here. A class is registered together with the pydantic model of its parameters, which the JSON
is checked against::

    from nncf_mcq.config.registry import RANGE_INITIALIZERS

    @RANGE_INITIALIZERS.register
    class MyRule(RangeInitializer):
        class Parameters(RangeInitializer.Parameters):
            type: Literal["my_rule"] = "my_rule"

A package that declares an entry point in the group `nncf_mcq.plugins` is imported before the CLI reads a configuration,
so its registrations are known there too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib import metadata
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from nncf_mcq.errors import NncfMcqError

PLUGIN_GROUP = "nncf_mcq.plugins"


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
        model = getattr(registered, "Parameters", None)
        field = model.model_fields.get("type") if isinstance(model, type) and issubclass(model, BaseModel) else None
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


class RegisteredParameters:
    """Annotation of a field: an object whose `type` names a class of a registry, the other keys being its parameters.

    The value is an instance of the class's parameter model. A string stands for an object with only the type.

    Args:
        registry: Where the type is looked up.
        exclude: Names that may not stand here.
    """

    def __init__(self, registry: Registry[Any], exclude: Collection[str] = ()) -> None:
        self.registry = registry
        self.exclude = exclude

    @property
    def names(self) -> list[str]:
        """The types that may stand here."""
        return [name for name in self.registry if name not in self.exclude]

    @property
    def allowed(self) -> str:
        """What may stand here, in words."""
        article = "an" if self.registry.kind[0] in "aeiou" else "a"
        return f"{article} {self.registry.kind}: {', '.join(self.names)}"

    def model(self, name: str) -> type[BaseModel]:
        """The parameter model of a name."""
        model: type[BaseModel] = self.registry[name].Parameters
        return model

    def dump(self, value: Any) -> Any:
        """A validated value as JSON values."""
        return value.model_dump()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(self.dump)
        return core_schema.no_info_plain_validator_function(self._validate, serialization=serialization)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        objects = []
        for name in self.names:
            found = handler.resolve_ref_schema(handler(self.model(name).__pydantic_core_schema__))
            # Pydantic leaves out what has a default, but the type is how the object is recognized.
            objects.append({**found, "required": sorted({*found.get("required", []), "type"})})
        return {"oneOf": [{"enum": self.names}, *objects]}

    def _validate(self, value: Any) -> Any:
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("registered_value", "{allowed}", {"allowed": self.allowed})
        name = value.get("type")
        if not isinstance(name, str) or name not in self.names:
            # The location cannot be extended from here, so the key is carried in the context.
            raise PydanticCustomError(
                "registered_type", "{allowed}", {"allowed": self.allowed, "key": ("type",), "found": name}
            )
        model = self.model(name)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            # Pydantic flattens a nested error into text; the locations travel in the context instead.
            raise PydanticCustomError(
                "registered_parameters", "{reason}", {"reason": str(error), "error": error, "model": model}
            ) from error


def load_plugins() -> None:
    """Imports every installed package that declares an entry point in the group `nncf_mcq.plugins`."""
    for entry_point in metadata.entry_points(group=PLUGIN_GROUP):
        entry_point.load()


RANGE_INITIALIZERS: Registry[Any] = Registry("range initializer")
ACTIVATION_RANGE_INITIALIZERS: Registry[Any] = Registry("activation range initializer")
PRECISION_INITIALIZERS: Registry[Any] = Registry("precision initializer")
DATASETS: Registry[Any] = Registry("data set")
