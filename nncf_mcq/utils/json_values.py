"""How two trees of JSON values differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ABSENT = object()


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What `found` says otherwise, in words: `a.b 3` for another value, `no a.b` for a missing one; sorted by path."""
    ours, theirs = _flatten(wanted), _flatten(found)
    said = []
    for path in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(path, _ABSENT), theirs.get(path, _ABSENT)
        if here != there:
            said.append(f"no {path}" if there is _ABSENT else f"{path} {there!r}")
    return said


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
