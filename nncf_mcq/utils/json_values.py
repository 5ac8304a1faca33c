"""Values of a JSON document, and how two trees of them differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JsonValue: TypeAlias = "Mapping[str, JsonValue] | Sequence[JsonValue] | str | float | bool | None"
"""A value that `json.dumps` writes; an int is a float here."""

JsonObject: TypeAlias = dict[str, JsonValue]
"""A JSON object that belongs to whoever gets it."""

_ABSENT = object()


def finite_or_none(value: float) -> float | None:
    """The value as JSON has it, which knows no infinity and nothing that is not a number."""
    return value if math.isfinite(value) else None


def differences(wanted: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    """Differences of `found`, in words: `a.b 3` for another value, `no a.b` for a missing one; sorted by path."""
    ours, theirs = _flatten(wanted), _flatten(found)
    said = []
    for path in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(path, _ABSENT), theirs.get(path, _ABSENT)
        if here != there:
            said.append(f"no {path}" if there is _ABSENT else f"{path} {there!r}")
    return said


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
