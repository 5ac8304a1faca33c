"""Names of the model in the configuration: a name, or a regular expression written `{re}PATTERN`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from nncf_mcq.errors import ConfigError

_REGEX = "{re}"


def match_scope(scope: str, names: Iterable[str], path: str) -> list[str]:
    """The names that a scope stands for, in their order.

    Args:
        scope: A whole name, or `{re}` and a pattern that is searched anywhere in a name, as in NNCF 2.
        names: The names of the model.
        path: Where the scope stands in the JSON.

    Raises:
        ConfigError: The pattern is no regular expression, or the scope matches nothing.
    """
    if scope.startswith(_REGEX):
        try:
            pattern = re.compile(scope.removeprefix(_REGEX))
        except re.error as error:
            raise ConfigError(path, scope, f"a regular expression ({error})") from error
        found = [name for name in names if pattern.search(name)]
    else:
        found = [name for name in names if name == scope]
    if not found:
        raise ConfigError(path, scope, f"a name in the model, e.g. {suggestions(scope, names)}")
    return found


def suggestions(found: str, names: Iterable[str]) -> str:
    """Up to three names that resemble one that is unknown."""
    known = list(names)
    return ", ".join(get_close_matches(found, known, n=3, cutoff=0.3) or known[:3])
