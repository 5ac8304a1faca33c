"""Base of the parameter models that the JSON is checked against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import core_schema

LONGEST_PATH: Final = 4096
LONGEST_NAME: Final = 255
"""Bytes that a path, and a name in it, may have."""


def check_path(path: str) -> str:
    """Returns a path that a file can have.

    Raises:
        ValueError: No file can have it.
    """
    names = path.encode(errors="surrogatepass").split(b"/")
    if b"\0" in path.encode(errors="surrogatepass") or max(map(len, names)) > LONGEST_NAME or len(path) > LONGEST_PATH:
        raise ValueError(
            f"a path that a file can have: no more than {LONGEST_NAME} bytes a name, {LONGEST_PATH} in all"
        )
    return path


class PathMarker:
    """Annotation of a field that holds a path, relative to the folder of the configuration."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """The field's own schema, and a check whether a file can have the path."""
        checked = core_schema.no_info_after_validator_function(_check_optional_path, handler(source))
        checked["metadata"] = dict(checked["schema"].get("metadata", {}))
        return checked


def _check_optional_path(path: str | None) -> str | None:
    return None if path is None else check_path(path)


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
