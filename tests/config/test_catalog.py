"""Recipes and baselines are found in an installed package and in a checkout."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import pytest

from nncf_mcq.config import catalog
from nncf_mcq.errors import ConfigError


def write_recipes(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text("{}")
    (folder / "baselines").mkdir()
    baseline = {"description": f"of {name}", "values": {"compression.weights.bits": [8]}}
    (folder / "baselines" / "own.json").write_text(json.dumps(baseline))


@pytest.mark.parametrize("layout", ["installed", "checkout"])
def test_recipes_and_baselines_are_found(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "nncf_mcq"
    package.mkdir()
    if layout == "installed":
        write_recipes(package / "recipes", "installed")
    # Beside an installed package, a folder of this name is none of ours.
    write_recipes(tmp_path / "recipes", "checkout")
    monkeypatch.setattr(catalog, "_PACKAGE", package)
    folder = package / "recipes" if layout == "installed" else tmp_path / "recipes"
    assert catalog.recipe_names() == [layout]
    assert catalog.find_config(layout) == folder / layout / "config.json"
    assert [baseline.description for baseline in catalog.baselines().values()] == [f"of {layout}"]
    assert catalog.find_baseline("own").values == {"compression.weights.bits": [8]}


def test_a_name_that_is_no_recipe_lists_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_PACKAGE", tmp_path / "nncf_mcq")
    with pytest.raises(ConfigError, match=r"CONFIG: found 'demo', allowed: a JSON file, or a recipe: none installed"):
        catalog.find_config("demo")
    write_recipes(tmp_path / "recipes", "other")
    with pytest.raises(ConfigError, match="or a recipe: other"):
        catalog.find_config("demo")


@pytest.mark.parametrize("model", ["net.onnx", "my models/net.xml", "torchvision.models:resnet18", "net.py:create"])
def test_a_model_is_told_to_run_init_first(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").write_bytes(b"any")
    with pytest.raises(ConfigError) as caught:
        catalog.find_config(model)
    expected = f"nncf-mcq init {shlex.quote(model)} --data FOLDER_OF_IMAGES"
    assert str(caught.value).endswith(f"allowed: a JSON file; for this model run init first: {expected}")


def test_every_recipe_says_what_it_is_and_needs() -> None:
    found = catalog.recipes()
    assert list(found) == catalog.recipe_names()
    assert all(recipe is not None and recipe.description and recipe.needs for recipe in found.values())


def test_the_wheel_puts_the_recipes_where_they_are_looked_for(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"recipes": "nncf_mcq/recipes"}
    assert catalog.recipes_folder() == project_root / "recipes"
    # A module of that name would hide the folder.
    assert not (project_root / "nncf_mcq" / "recipes.py").exists()
