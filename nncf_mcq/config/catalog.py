"""Finds a configuration or a baseline: a file, or the name of one that ships with the package."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from nncf_mcq.config.json_files import read_json
from nncf_mcq.config.messages import to_config_error
from nncf_mcq.config.model_reference import is_model_reference
from nncf_mcq.config.output_files import CONFIG_FILE
from nncf_mcq.config.parameters import Parameters
from nncf_mcq.errors import ConfigError

ABOUT_FILE: Final = "about.json"
"""Beside the configuration of a recipe."""

_PACKAGE = Path(__file__).parent.parent


def recipes_folder() -> Path:
    """The folder of the recipes: inside of an installed package, beside it in a checkout."""
    installed = _PACKAGE / "recipes"
    # Beside an installed package there may be one of any origin.
    return installed if installed.is_dir() else _PACKAGE.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(path.parent.name for path in recipes_folder().glob(f"*/{CONFIG_FILE}"))


class Recipe(Parameters):
    """What `nncf-mcq recipes` says of a recipe.

    Attributes:
        description: The network and its task, in a line.
        needs: What is not bundled, and its size.
    """

    description: str
    needs: str


def recipes() -> dict[str, Recipe | None]:
    """The recipes that ship with the package, by name; None for one that says nothing of itself."""
    files = {name: recipes_folder() / name / ABOUT_FILE for name in recipe_names()}
    return {name: Recipe.model_validate(read_json(file)) if file.is_file() else None for name, file in files.items()}


def find_config(reference: str) -> Path:
    """The path of a configuration file.

    Args:
        reference: A path, or the name of a recipe.

    Raises:
        ConfigError: It is neither.
    """
    if is_model_reference(reference):
        command = f"{shlex.join(['nncf-mcq', 'init', reference, '--data'])} FOLDER_OF_IMAGES"
        raise ConfigError("CONFIG", reference, f"a JSON file; for this model run init first: {command}")
    path = Path(reference)
    if path.is_file():
        return path
    recipe = recipes_folder() / reference / CONFIG_FILE
    if recipe.is_file():
        return recipe
    raise ConfigError("CONFIG", reference, f"a JSON file, or a recipe: {', '.join(recipe_names()) or 'none installed'}")


NO_BASELINE = "none"
"""Stands for no method at all, not even one to compare with."""


class Baseline(Parameters):
    """A published or naive method, as values that replace some of a configuration's.

    Attributes:
        description: What it is, in a line.
        values: Dotted path in the configuration to value.
    """

    description: str
    values: dict[str, object]


def baselines() -> dict[str, Baseline]:
    """The baselines that ship with the package, by name."""
    return {path.stem: _read_baseline(path) for path in sorted(recipes_folder().glob("baselines/*.json"))}


def find_baseline(reference: str) -> Baseline:
    """A baseline.

    Args:
        reference: A path, or a name.

    Raises:
        ConfigError: It is neither, or the file holds something else.
    """
    path = Path(reference)
    if path.is_file():
        return _read_baseline(path)
    known = baselines()
    if reference not in known:
        raise ConfigError("--baseline", reference, f"a JSON file, or one of {', '.join(known)}")
    return known[reference]


def _read_baseline(path: Path) -> Baseline:
    try:
        return Baseline.model_validate(read_json(path))
    except ValidationError as error:
        raise to_config_error(error, Baseline, (str(path),)) from error


def config_name(reference: str) -> str:
    """A short name: that of the recipe, or of the file without its suffix."""
    path = Path(reference)
    return path.resolve().parent.name if path.name == CONFIG_FILE else path.stem
