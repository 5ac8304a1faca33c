"""Values that replace some of a configuration's: `PATH=VALUE` of a command line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence

from nncf_mcq.errors import ConfigError


def parse_overrides(items: Sequence[str]) -> dict[str, object]:
    """`PATH=VALUE` arguments of a command line as dotted paths and JSON values; what is no JSON is a string.

    Raises:
        ConfigError: There is no `=`.
    """
    found: dict[str, object] = {}
    for item in items:
        path, separator, value = item.partition("=")
        if not separator or not path:
            raise ConfigError("--set", item, "PATH=VALUE, e.g. compression.activations.bits=8")
        try:
            found[path] = json.loads(value)
        except RecursionError as error:
            raise ConfigError(path, f"{value[:20]}...", "JSON that is not nested so deeply") from error
        except ValueError:
            found[path] = value
    return found


def strings(value: object) -> Iterator[str]:
    """All strings among JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from strings(item)


def override(data: dict[str, object], path: str, value: object) -> None:
    """Replaces the value at a dotted path.

    Raises:
        ConfigError: The path leads through something else than objects.
    """
    *parents, last = path.split(".")
    for parent in parents:
        child = data.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(path, child, "a path through JSON objects")
        data = child
    # A copy: a later path may lead into it.
    data[last] = copy.deepcopy(value)
