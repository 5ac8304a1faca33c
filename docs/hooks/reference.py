"""The reference of the configuration as Markdown, from its JSON Schema and nothing else."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from nncf_mcq import ACTIVATION_RANGE_INITIALIZERS, PRECISION_INITIALIZERS, RANGE_INITIALIZERS, TUNINGS, json_schema
from nncf_mcq.data.datasets import DATASETS

_REGISTRIES = {
    "dataset": DATASETS,
    "compression.activations.range": ACTIVATION_RANGE_INITIALIZERS,
    "compression.initializer.range": RANGE_INITIALIZERS,
    "compression.initializer.precision": PRECISION_INITIALIZERS,
    "compression.tuning": TUNINGS,
}
_INTRODUCTION = """# Configuration reference

Generated from the JSON Schema that `nncf-mcq schema` prints and that every configuration is validated against. Unknown
keys, wrong types and invalid values are errors that name the path in the JSON. Every key is optional unless marked
*required*.
"""


def reference_markdown() -> str:
    """The page."""
    schema = json_schema()
    return "\n".join([_INTRODUCTION, *_section("", schema, schema["$defs"])]) + "\n"


def _section(path: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Heading and table of an object, then the objects in it."""
    yield f"## {'Top level' if not path else f'`{path}`'}\n"
    if path and schema.get("description"):
        yield f"{schema['description']}\n"
    yield from _table(schema, definitions)
    for key, value in schema.get("properties", {}).items():
        place = f"{path}.{key}" if path else key
        if place in _REGISTRIES:
            yield from _choices(place, value, definitions)
            continue
        nested = _object_in(value, definitions)
        if nested is not None:
            yield from _section(place, nested, definitions)


def _choices(path: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """One part for each type that may stand in a place."""
    registry = _REGISTRIES[path]
    yield f"## `{path}`\n"
    yield f"{_text(schema)} A name alone is short for an object with that `type` and no other key.\n"
    for name in registry:
        parameters = registry[name].Parameters.model_json_schema()
        yield f"### `{name}` {{ #{path.replace('.', '-')}-{name} }}\n"
        yield f"{_summary(registry[name])}\n"
        known = {**definitions, **parameters.get("$defs", {})}
        if len(parameters["properties"]) > 1:
            yield from _table(parameters, known, skip=("type",))
        for key, value in parameters["properties"].items():
            nested = _object_in(value, known)
            if nested is not None:
                yield f"`{key}`: {nested.get('description', '')}\n"
                yield from _table(nested, known)
                for inner, deeper in nested["properties"].items():
                    found = _object_in(deeper, known)
                    if found is not None:
                        yield f"`{key}.{inner}`: {found.get('description', '')}\n"
                        yield from _table(found, known)


def _table(schema: dict[str, Any], definitions: dict[str, Any], skip: tuple[str, ...] = ()) -> Iterator[str]:
    required = schema.get("required", [])
    yield "| key | value | default | |\n| --- | --- | --- | --- |"
    for key, value in schema.get("properties", {}).items():
        if key in skip:
            continue
        default = "*required*" if key in required else _default(value)
        kind = _kind(value, definitions)
        yield f"| `{key}` | {kind} | {default} | {_text(value)} |".replace("\n", " ")
    yield ""


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    # What an object holds by default, its own table says.
    if default is None or (default and isinstance(default, dict)):
        return ""
    return f"`{json.dumps(default)}`"


def _kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The values that are allowed, in words."""
    if "$ref" in schema:
        return _kind(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "oneOf" in schema:
        return "a name or an object, see below"
    if "anyOf" in schema:
        kinds = [_kind(item, definitions) for item in schema["anyOf"] if item.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(item)}`" for item in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of: {_kind(schema.get('items', {}), definitions)}"
    return f"{kind}{_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    found = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" {' '.join(found)}" if found else ""


def _object_in(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The object with keys of its own that a value may be."""
    if "$ref" in schema:
        found: dict[str, Any] = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        return found if "properties" in found else None
    for item in [*schema.get("anyOf", []), *schema.get("allOf", [])]:
        nested = _object_in(item, definitions)
        if nested is not None:
            return nested
    return None


def _text(schema: dict[str, Any]) -> str:
    return str(schema.get("description", "")).replace("|", "\\|").replace("{re}", "`{re}`").strip()


def _summary(registered: type) -> str:
    """The docstring of a class up to its arguments."""
    text = inspect.getdoc(registered) or ""
    for heading in ("\nArgs:", "\nAttributes:", "\nRaises:"):
        text = text.split(heading)[0]
    return text.strip()
