"""Base of the parameter models that the JSON is checked against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from pydantic import BaseModel, ConfigDict


class PathMarker:
    """Annotation of a field that holds a path, relative to the folder of the configuration."""


class Parameters(BaseModel):
    """Base of every parameter model: unknown keys are errors, values are not converted and do not change.

    The docstring below a field is its description in the JSON Schema, unless the field has another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    def map_paths(self, function: Callable[[str], str]) -> Self:
        """A copy in which every path, here and in nested parameters, is replaced by what the function makes of it."""
        changed: dict[str, object] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Parameters):
                changed[name] = value.map_paths(function)
            elif isinstance(value, list):
                changed[name] = [item.map_paths(function) if isinstance(item, Parameters) else item for item in value]
            elif isinstance(value, str) and any(isinstance(item, PathMarker) for item in field.metadata):
                changed[name] = function(value)
        return self.model_copy(update=changed)


class NamedParameters(Parameters):
    """Parameters of a registered class: a subclass narrows `type` to the class's name, a literal."""

    type: str
