"""Turns a pydantic error into one message: the path in the JSON, what was found, what is allowed."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nncf_mcq.errors import ConfigError


def to_config_error(error: ValidationError, model: type[BaseModel], prefix: tuple[str | int, ...] = ()) -> ConfigError:
    """The first problem of a validation error, in the words of `ConfigError`.

    Args:
        error: What pydantic raised while validating `model`.
        model: The model that was validated; names the keys that are allowed.
        prefix: Where the validated object stands in the whole JSON.
    """
    # An unknown key is reported before anything it may have caused, such as a missing value.
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    location, kind, context = first["loc"], first["type"], first.get("ctx", {})
    if kind == "registered_parameters":
        nested: ValidationError = context["error"]
        return to_config_error(nested, context["model"], (*prefix, *location, *context.get("key", ())))
    if kind == "registered_type":
        return ConfigError(format_path((*prefix, *location, *context["key"])), context["found"], first["msg"])
    path = format_path((*prefix, *location))
    if kind == "extra_forbidden":
        return ConfigError(path, _unknown_key(location), _allowed_keys(model, location[:-1]))
    if kind == "missing":
        return ConfigError(path, None, f"a value: the key is required{_description(model, location)}")
    if kind == "value_error":
        return ConfigError(path or "config", first["input"], str(context["error"]))
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return ConfigError(path or "config", first["input"], "a JSON object")
    # "allowed: input should be 'CPU'" says the same twice.
    return ConfigError(path or "config", first["input"], _lower_first(first["msg"]).removeprefix("input should be "))


def format_path(location: Iterable[str | int]) -> str:
    """`("compression", "weights", "bits", 2)` -> `compression.weights.bits[2]`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _description(model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    """What a key is, in brackets, as the reference of the configuration says it."""
    parent = _model_at(model, location[:-1])
    field = None if parent is None else parent.model_fields.get(str(location[-1]))
    return "" if field is None or field.description is None else f" ({_lower_first(field.description).rstrip('.')})"


def _unknown_key(location: tuple[str | int, ...]) -> str:
    return f"unknown key {location[-1]}"


def _allowed_keys(model: type[BaseModel], location: Iterable[str | int]) -> str:
    current = _model_at(model, location)
    if current is None:
        return "no such key"
    return "one of the keys " + ", ".join(current.model_fields)


def _model_at(model: type[BaseModel], location: Iterable[str | int]) -> type[BaseModel] | None:
    """The pydantic model of the object at a place, if one is known."""
    current: type[BaseModel] | None = model
    for part in location:
        field = current.model_fields.get(str(part)) if current is not None else None
        current = _model_in(field.annotation) if field is not None else None
    return current


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The pydantic model that an annotation is, or that one such as `Model | None` holds."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    for found in get_args(annotation) if is_union else (annotation,):
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]
