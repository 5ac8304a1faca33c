"""Recipes are folders of scripts, not a package: tests load their files by path."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LoadRecipeFile = Callable[[str], ModuleType]
"""Imports a file below `recipes`, e.g. `fashion_mnist/model.py`."""


@pytest.fixture(scope="session")
def load_recipe_file(project_root: Path) -> LoadRecipeFile:
    """See `LoadRecipeFile`."""

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(
            "recipe_" + name.removesuffix(".py").replace("/", "_"), project_root / "recipes" / name
        )
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load
