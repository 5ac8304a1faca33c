"""JSON of a configuration before the schema sees it: read strictly, and of a depth and text that can be handled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nncf_mcq.errors import ConfigError, shown

DEEPEST = 100
"""Objects and lists in each other that a configuration may have."""

_STRING_OR_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_VISIBLE: Final = re.compile(r"[^\n]")


def read_json(file: Path) -> dict[str, Any]:
    """The JSON values of a configuration file, not yet checked against the schema; it may have comments.

    Raises:
        ConfigError: The file cannot be read, or holds no JSON object.
    """
    try:
        # Editors of Windows begin a file with a byte-order mark.
        data = json.loads(_without_comments(file.read_text(encoding="utf-8-sig")), object_pairs_hook=_object)
    except OSError as error:
        raise ConfigError("config", str(file), f"a readable JSON file ({error.strerror})") from error
    except RecursionError as error:
        raise ConfigError("config", str(file), "valid JSON (it is nested too deeply)") from error
    except ValueError as error:
        raise ConfigError("config", str(file), f"valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise ConfigError("config", type(data).__name__, "a JSON object")
    return data


def _without_comments(text: str) -> str:
    """JSON without the comments of JavaScript, which files of NNCF 2 have; positions in messages stay right."""
    return _STRING_OR_COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else _VISIBLE.sub(" ", found[0]), text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file; JSON itself takes the last of several equal keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return found


def check_text(value: object, path: str, depth: int = 0) -> None:
    """Refuses half characters, which JSON can write and no file or message can hold, and what is nested too deeply."""
    if depth > DEEPEST:
        raise ConfigError("config", "a value", f"JSON that is nested no more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_text(key, path)
            check_text(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_text(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(path.removeprefix("config."), value, "text that can be written as UTF-8")
