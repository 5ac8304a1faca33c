"""What the lists of hooks leave out of what the sources use, and what a program says beside a host that lacks one."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from nncf_mcq.utils.hooks import Hooks

ROOT = Path(__file__).resolve().parents[1]


def names_of(hooks: Hooks) -> set[str]:
    """Hooks without their parameters."""
    return {hook.partition("(")[0] for names in hooks.values() for hook in names}


def unlisted(files: list[Path], host: str, hooks: Hooks, is_promised: Callable[[str], bool]) -> list[str]:
    """Imports from inside a host, and private attributes of its objects, that are in no list.

    Args:
        files: Sources of this package.
        host: The package that they import from.
        hooks: The lists.
        is_promised: Whether the host documents what can be imported from a module.
    """
    listed = names_of(hooks)
    known = {_last(name) for name in listed} | _defined_here()
    found = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        statements = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imports = [(str(statement.module), alias.name) for statement in statements for alias in statement.names]
        imports = [(module, name) for module, name in imports if module.partition(".")[0] == host]
        for module, name in imports:
            used = f"{module}:{name}"
            # Itself, a member of it, or what a module of this name has.
            forms = (f"{used}.", f"{module}.{name}:")
            if not is_promised(module) and used not in listed and not any(item.startswith(forms) for item in listed):
                found.append(f"{file.relative_to(ROOT)}: {used}")
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)] if imports else []
        for node in attributes:
            if node.attr.startswith("_") and not node.attr.endswith("__") and node.attr not in known:
                found.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.attr}")
    return found


def _defined_here() -> set[str]:
    """Names of this package's own functions, methods and attributes."""
    found = set()
    for file in sorted((ROOT / "nncf_mcq").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id == "self":
                    found.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def unlisted_overrides(modules: list[str], host: str, hooks: Hooks) -> list[str]:
    """Methods of a host's classes that classes of this package override, and that are in no list."""
    listed = {name.partition(":")[2] for name in names_of(hooks)}
    found = []
    for made in (item for module in modules for item in _classes(module)):
        bases = [base for base in made.__mro__[1:] if base.__module__.partition(".")[0] == host]
        for name in vars(made).keys() - vars(object).keys():
            is_override = any(name in vars(base) and callable(getattr(base, name)) for base in bases)
            if is_override and not any(f"{base.__name__}.{name}" in listed for base in bases):
                found.append(f"{made.__qualname__}.{name}")
    return sorted(found)


def _classes(module: str) -> Iterator[type]:
    for item in vars(importlib.import_module(module)).values():
        if isinstance(item, type) and item.__module__ == module:
            yield item


def misplaced(hooks: Hooks) -> list[str]:
    """Hooks whose name does not occur in the file that they are listed for."""
    return [
        f"{file}: {name}"
        for file, names in hooks.items()
        for name in (_last(hook.partition("(")[0]) for hook in names)
        if name not in (ROOT / file).read_text(encoding="utf-8")
    ]


def _last(name: str) -> str:
    return name.replace(":", ".").rpartition(".")[2]


def message_without(removal: str, program: str) -> str:
    """What a program prints to standard error in the end after a part of a host was removed.

    Args:
        removal: A statement that removes it.
        program: Statements that then fail.
    """
    text = f"{removal}\n{program}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0, done.stdout
    return done.stderr.strip().splitlines()[-1]
