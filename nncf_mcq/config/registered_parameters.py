"""A section of the JSON whose `type` names a registered class."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from nncf_mcq.config.registry import ParameterModels


class RegisteredParameters:
    """Annotation of a field: an object whose `type` names a registered class, the other keys being its parameters.

    The value is an instance of the class's parameter model. A string stands for an object with only the type.

    Args:
        models: Where the type is looked up.
        exclude: Names that may not stand here.
    """

    def __init__(self, models: ParameterModels, exclude: Collection[str] = ()) -> None:
        self.models = models
        self.exclude = exclude

    @property
    def names(self) -> list[str]:
        """The types that may stand here."""
        return [name for name in self.models if name not in self.exclude]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        article = "an" if self.models.kind[0] in "aeiou" else "a"
        return f"{article} {self.models.kind}: {', '.join(self.names)}"

    def model(self, name: str) -> type[BaseModel]:
        """The parameter model of a name."""
        return self.models[name]

    def dump(self, value: BaseModel) -> object:
        """A validated value as JSON values."""
        return value.model_dump()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(self.dump)
        return core_schema.no_info_plain_validator_function(self._validate, serialization=serialization)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        objects = []
        for name in self.names:
            found = handler.resolve_ref_schema(handler(self.model(name).__pydantic_core_schema__))
            # Pydantic leaves out what has a default, but the type is how the object is recognized.
            objects.append({**found, "required": sorted({*found.get("required", []), "type"})})
        return {"oneOf": [{"enum": self.names}, *objects]}

    def _validate(self, value: object) -> object:
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
