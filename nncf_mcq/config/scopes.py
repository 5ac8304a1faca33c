"""Names of the model in the configuration: a name, or a regular expression written `{re}PATTERN`."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from difflib import get_close_matches

from nncf_mcq.errors import ConfigError

_REGEX = "{re}"

_WITHOUT_BIAS = "/WithoutBiases"
"""What OpenVINO appends to the name of an ONNX node with a bias, for its layer: the addition gets the node's name."""


def with_layers_of(scopes: Iterable[str], names: Container[str], path: str) -> list[str]:
    """The scopes, and the layers of those that are names of ONNX nodes with a bias.

    Args:
        scopes: Names, or `{re}PATTERN`.
        names: The names of the model.
        path: Where the scopes stand in the JSON.

    Raises:
        ConfigError: A pattern is no regular expression.
    """
    found: list[str] = []
    for scope in scopes:
        if scope.startswith(_REGEX):
            _compile_pattern(scope, path)
        layer = f"{scope}{_WITHOUT_BIAS}"
        found += [name for name in (scope, layer) if name in names] or [scope]
    return found


def _compile_pattern(scope: str, path: str) -> re.Pattern[str]:
    """The pattern of a scope that is written `{re}PATTERN`.

    Raises:
        ConfigError: It is no regular expression.
    """
    try:
        return re.compile(scope.removeprefix(_REGEX))
    except re.error as error:
        raise ConfigError(path, scope, f"a regular expression ({error})") from error


def match_scope(scope: str, names: Iterable[str], path: str) -> list[str]:
    """The names that a scope stands for, in their order.

    Args:
        scope: A whole name, which may be that of an ONNX node with a bias, or `{re}` and a pattern that is searched
            anywhere in a name, as in NNCF 2.
        names: The names of the model.
        path: Where the scope stands in the JSON.

    Raises:
        ConfigError: The pattern is no regular expression, or the scope matches nothing.
    """
    if scope.startswith(_REGEX):
        pattern = _compile_pattern(scope, path)
        found = [name for name in names if pattern.search(name)]
    else:
        known = list(names)
        found = [name for name in known if name == scope] or [name for name in known if name == scope + _WITHOUT_BIAS]
    if not found:
        raise ConfigError(path, scope, f"a name in the model, e.g. {suggestions(scope, names)}")
    return found


def suggestions(found: str, names: Iterable[str]) -> str:
    """Up to three names that resemble one that is unknown."""
    known = list(names)
    return ", ".join(get_close_matches(found, known, n=3, cutoff=0.3) or known[:3])
