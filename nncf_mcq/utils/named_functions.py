"""Functions that a configuration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nncf_mcq.errors import ConfigError, NncfMcqError

Function = TypeVar("Function")


class NamedFunctions(dict[str, Function]):
    """The registered functions of one kind by the name that the configuration uses.

    Args:
        kind: What they are; also the key of the configuration that names one.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def register(self, name: str) -> Callable[[Function], Function]:
        """Returns a decorator that registers a function.

        Raises:
            NncfMcqError: Another one has the name.
        """

        def register(function: Function) -> Function:
            if self.setdefault(name, function) is not function:
                raise NncfMcqError(f"a {self._kind} named {name!r} is registered already")
            return function

        return register

    def find(self, name: str) -> Function:
        """Returns the function of that name.

        Raises:
            ConfigError: There is none.
        """
        if name not in self:
            raise ConfigError(self._kind, name, "one of " + ", ".join(sorted(self)))
        return self[name]
