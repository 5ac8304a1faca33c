"""Finds a configuration: a file, or the name of a recipe that ships with the package."""

from __future__ import annotations

from pathlib import Path

from nncf_mcq.errors import ConfigError

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parent / "recipes")
"""In an installed package, and in a checkout."""


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted({path.parent.name for folder in _FOLDERS for path in folder.glob("*/config.json")})


def find_config(reference: str) -> Path:
    """The path of a configuration file.

    Args:
        reference: A path, or the name of a recipe.

    Raises:
        ConfigError: It is neither.
    """
    path = Path(reference)
    if path.is_file():
        return path
    for folder in _FOLDERS:
        recipe = folder / reference / "config.json"
        if recipe.is_file():
            return recipe
    raise ConfigError("CONFIG", reference, f"a JSON file, or a recipe: {', '.join(recipe_names()) or 'none installed'}")
