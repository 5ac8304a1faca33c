"""Packages whose names are imported when they are first used, so that a command pays only for what it needs."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path


def lazy_exports(package: str, init: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package whose stub `__init__.pyi` holds its imports.

    The stub is the one home of the names: type checkers and documentation read it, and so does this, as SPEC 1 of
    Scientific Python has it. It holds nothing but absolute imports and `__all__`.

    Args:
        package: `__name__` of the package.
        init: `__file__` of the package.

    Returns:
        The three, to be assigned in this order in `__init__.py`.
    """
    homes: dict[str, str] = {}
    names: list[str] = []
    for statement in ast.parse(Path(init).with_suffix(".pyi").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.module is not None:
            homes |= {item.asname or item.name: statement.module for item in statement.names}
        elif isinstance(statement, ast.Assign):
            names = ast.literal_eval(statement.value)

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        value = importlib.import_module(f"{package}.{name}" if home == package else home)
        if home != package:
            # A module is an attribute of its package only when it has been imported.
            value = getattr(value, name) if hasattr(value, name) else importlib.import_module(f"{home}.{name}")
        setattr(sys.modules[package], name, value)
        return value

    def directory() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return load, directory, names
