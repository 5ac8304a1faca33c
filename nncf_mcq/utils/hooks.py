"""Parts of another package that it does not promise to keep, and the message where a version of it has them no more."""

from __future__ import annotations

import dis
import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from types import FunctionType
from typing import Final

from nncf_mcq.errors import HostVersionError

Hooks = Mapping[str, tuple[str, ...]]
"""A file of this package to the hooks that it uses.

A hook is written `module:Class.attribute`, as in entry points, or `module:Class.method(self, argument)` where the names
of the parameters matter too: of what is overridden, or called with arguments by name.
"""

_MOST_TOLD: Final = 3
_MISSING: Final = object()
_OF_INSTANCES: Final = object()


def missing_hooks(hooks: Hooks) -> dict[str, str]:
    """The hooks that the installed packages do not have.

    Args:
        hooks: Of packages that are installed.

    Returns:
        Full name of a hook to the file that uses it; a hook with other parameters is told with those that it has.

    Raises:
        ModuleNotFoundError: A package is not installed at all.
    """
    missing = {}
    for file, names in hooks.items():
        for hook in names:
            name, _, parameters = hook.removesuffix(")").partition("(")
            found = _find(name)
            full_name = hook.replace(":", ".")
            if found is _MISSING:
                missing[full_name] = file
            elif parameters and _parameters(found) != parameters:
                missing[f"{full_name}, but with ({_parameters(found)})"] = file
    return missing


def check_hooks(hooks: Hooks, package: str, host: str, supported: str) -> None:
    """Raises where a host has not the hooks that are used.

    Args:
        hooks: Of the host.
        package: Name of the host's distribution, e.g. `nncf`.
        host: Its name in words.
        supported: Its versions that are known to have them.

    Raises:
        HostVersionError: In one line: the hooks that are missing, where they are used, and the supported versions.
        ModuleNotFoundError: The host is not installed.
    """
    missing = missing_hooks(hooks)
    if missing:
        told = [f"{name} (for {file})" for name, file in missing.items()][:_MOST_TOLD]
        more = len(missing) - len(told)
        found = "; ".join([*told, f"{more} more"] if more else told)
        raise HostVersionError(f"{host}: found {version(package)}, which has no {found}; allowed: {supported}")


def _find(name: str) -> object:
    """What a name without parameters stands for."""
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        is_the_host = error.name == module.partition(".")[0]
        if is_the_host or not f"{module}.".startswith(f"{error.name}."):
            raise
        return _MISSING
    for part in path.split(".") if path else ():
        if isinstance(found, type) and not hasattr(found, part):
            return _OF_INSTANCES if part in _attributes(found) else _MISSING
        found = getattr(found, part, _MISSING)
    return found


@functools.cache
def _attributes(found: type) -> frozenset[str]:
    """Names of the attributes that instances of a class get: annotated, or set in a method."""
    annotated = (name for base in found.__mro__ for name in vars(base).get("__annotations__", ()))
    return frozenset([*annotated, *(name for base in found.__mro__ for name in _set_by(base))])


def _set_by(found: type) -> Iterator[str]:
    for member in vars(found).values():
        candidates = (member.fget, member.fset) if isinstance(member, property) else (member,)
        for candidate in candidates:
            function = inspect.unwrap(candidate) if callable(candidate) else None
            if isinstance(function, FunctionType):
                yield from (item.argval for item in dis.get_instructions(function) if item.opname == "STORE_ATTR")


def _parameters(found: object) -> str:
    return ", ".join(inspect.signature(found).parameters) if callable(found) else ""
