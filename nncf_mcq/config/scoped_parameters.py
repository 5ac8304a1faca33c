"""A section of the JSON that is one registered object for all layers, or a list of them with `target_scopes`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated

from pydantic import BaseModel, Field, GetJsonSchemaHandler, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from nncf_mcq.config.parameters import Parameters
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import ParameterModels

SCOPES_KEY = "target_scopes"


class Scoped(Parameters):
    """Base of the entries of a list, beside the parameter model of their type."""

    target_scopes: Annotated[list[str], Field(min_length=1)] | None = None
    """Layers that this entry is for: names, or regular expressions written {re}PATTERN."""


class ScopedParameters(RegisteredParameters):
    """Annotation of an entry of the list: as `RegisteredParameters`, with the key `target_scopes` besides."""

    def model(self, name: str) -> type[BaseModel]:
        """The parameter model of a name with the additional field."""
        return _with_scopes(super().model(name))

    def dump(self, value: BaseModel) -> object:
        """As JSON values; an entry for all layers has no key `target_scopes`, as a user would write it."""
        dumped = value.model_dump()
        return {key: item for key, item in dumped.items() if key != SCOPES_KEY or item is not None}


class OneOrScopedParameters(RegisteredParameters):
    """Annotation of a field: what `RegisteredParameters` takes, or a list of entries with `target_scopes`.

    The value is an instance of a parameter model, or a list of such instances that are `Scoped` besides: their
    `target_scopes` are a list of strings, or None for every layer, which only the last entry may have. A registered
    class must not have a parameter of that name itself.

    Args:
        models: Where the types are looked up.
    """

    def __init__(self, models: ParameterModels) -> None:
        super().__init__(models)
        self._entry = ScopedParameters(models)
        self._entries: TypeAdapter[list[Scoped]] = TypeAdapter(list[Annotated[Scoped, self._entry]])

    def dump(self, value: BaseModel | list[BaseModel]) -> object:
        """As JSON values."""
        return [self._entry.dump(item) for item in value] if isinstance(value, list) else super().dump(value)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        single = super().__get_pydantic_json_schema__(schema, handler)
        entry = self._entry.__get_pydantic_json_schema__(schema, handler)
        description = "The first entry whose target_scopes match a layer is the layer's; only the last may have none."
        return {
            "oneOf": [*single["oneOf"], {"type": "array", "minItems": 1, "items": entry, "description": description}]
        }

    def _validate(self, value: object) -> object:
        if not isinstance(value, list):
            return super()._validate(value)
        if not value:
            allowed = f"{self.allowed}, or a list of at least one with {SCOPES_KEY}"
            raise PydanticCustomError("registered_value", "{allowed}", {"allowed": allowed})
        try:
            entries = self._entries.validate_python(value)
        except ValidationError as error:
            raise PydanticCustomError(
                "registered_parameters", "{reason}", {"reason": str(error), "error": error, "model": Parameters}
            ) from error
        _check_order(entries)
        return entries


def _check_order(entries: Sequence[Scoped]) -> None:
    for index, entry in enumerate(entries[:-1]):
        if entry.target_scopes is None:
            allowed = f"layer names or {{re}}PATTERN: without, the entries after [{index}] could match nothing"
            raise PydanticCustomError(
                "registered_type", "{allowed}", {"allowed": allowed, "key": (index, SCOPES_KEY), "found": None}
            )


@cache
def _with_scopes(model: type[BaseModel]) -> type[BaseModel]:
    """A subclass with the field; one for each model, so that equal entries are of the same class."""
    return create_model(model.__name__, __base__=(Scoped, model), __module__=model.__module__)
