"""What the documentation says is true: commands exist, JSON is valid, Python runs, and the site has no broken link."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import nncf
import numpy as np
import pytest
import torch
import typer.main
from mkdocs.commands.build import build
from mkdocs.config import load_config as load_site

import nncf_mcq
import openvino_eval
from nncf_mcq import PRECISION_INITIALIZERS, RANGE_INITIALIZERS, json_schema, load_config, testing
from nncf_mcq.cli import application
from nncf_mcq.config.catalog import find_config, recipe_names
from nncf_mcq.config.json_files import read_json
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.job import Job
from openvino_eval.cli import app
from tests.docs.blocks import commands, fenced
from tests.registries import restored_registries
from tests.test_architecture import exported

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = [*sorted(ROOT.glob("recipes/*/README.md")), ROOT / "benchmarks" / "README.md", ROOT / "CONTRIBUTING.md"]
PROGRAMS = {"nncf-mcq": application, "openvino-eval": app}
PYTHON_REFERENCE: dict[str, Any] = {
    "index": nncf_mcq,
    "range_init": nncf_mcq.range_init,
    "precision_init": nncf_mcq.precision_init,
    "datasets": nncf_mcq.datasets,
    "testing": testing,
    "openvino_eval": openvino_eval,
}
"""The pages below docs/api, and the package whose public names each of them describes."""


def options_of(program: str, subcommand: str) -> set[str]:
    group = typer.main.get_command(PROGRAMS[program])
    found = group.commands[subcommand]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in [*parameter.opts, *parameter.secondary_opts]} | {"--help"}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(page):
        program = words[0].rsplit("/", 1)[-1]
        if program == "make":
            makefile = (ROOT / "Makefile").read_text()
            given = {word.split("=")[0] for word in words[1:] if "=" in word}
            assert given <= set(re.findall(r"\$\(([A-Z]+)\)", makefile)), words
            assert {word for word in words[1:] if "=" not in word} <= set(targets), words
        elif program in PROGRAMS:
            known = options_of(program, words[1])
            used = {word.split("=")[0] for word in words[2:] if re.match(r"-{1,2}[a-z]", word)}
            assert used <= known, (words, used - known)
        elif program == "python" and words[1] == "-m":
            assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").is_file() or (
                ROOT / words[2].replace(".", "/") / "__main__.py"
            ).is_file(), words
        elif program == "python":
            assert (ROOT / words[1]).is_file(), words


def test_commands_are_found_however_they_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n    OMP_NUM_THREADS=1 nncf-mcq layers A --set 'x={\n        1}' \\\n        --output DIR\n    FP32\n\n"
        "```sh\nmake demo  # why\n```\n"
    )
    assert list(commands(page)) == [
        ["make", "demo"],
        ["nncf-mcq", "layers", "A", "--set", "x={ 1}", "--output", "DIR"],
    ]
    assert sum(len(list(commands(page))) for page in [*PAGES, *OTHERS]) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_replaced_values_of_recipes_are_possible(page: Path) -> None:
    for words in commands(page):
        if words[0] in PROGRAMS and words[2:] and words[2] in recipe_names():
            found = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
            Job.read(find_config(words[2]), parse_overrides(found))


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    """The classes that the documentation on extending defines."""
    with restored_registries():
        for block in fenced(ROOT / "docs" / "extending.md", "python"):
            exec(compile(block.text, "extending.md", "exec", dont_inherit=True), {"__name__": "extending"})
        yield


def placed(title: str, value: Any) -> dict[str, Any]:
    """A fragment in its place in a configuration."""
    for key in reversed(title.split(".")):
        value = {key: value}
    if title.startswith("dataset"):
        preprocessing = read_json(find_config("efficientnet_lite0"))["dataset"]["preprocessing"]
        images = {"type": "image_folder", "root": ".", "preprocessing": preprocessing}
        value["dataset"] = {**images, **value["dataset"]}
    return value


def test_json_is_a_configuration_or_a_part_of_one(registered: None) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    count = 0
    for page in PAGES:
        for block in fenced(page, "json"):
            if block.title.startswith("nncf 2"):
                continue
            config = json.loads(block.text)
            if block.title:
                config = placed(block.title, config)
            load_config(config)
            validator.validate(config)
            count += 1
    assert count >= 12


def test_inline_json_of_the_documentation_is_valid(registered: None) -> None:
    precision: list[dict[str, Any]] = []
    clipping: list[dict[str, Any]] = []
    for page in PAGES:
        for text in re.findall(r"`(\{\"type\": [^`]*\})`", page.read_text(encoding="utf-8")):
            if "..." in text or "autoq" in text or "hawq" in text or "mean_min_max" in text:
                continue
            value = json.loads(text)
            (clipping if value["type"] in RANGE_INITIALIZERS else precision).append(value)
    for value in clipping:
        load_config({"compression": {"initializer": {"range": value}}})
    for value in precision:
        needs_budget = "budget" not in value and value["type"] in ("ilp", "greedy", "rl", "optuna")
        more = {"budget": {"weight_size": {"average_bits": 4}}} if needs_budget else {}
        load_config({"compression": {"initializer": {"precision": {**value, **more}}}})
    assert len(clipping) >= 1
    assert len(precision) >= 4


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, stride=8)
        self.last = torch.nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(images)).mean((2, 3)))


def images_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 1, 3, 224, 224)).astype(np.float32)


def test_own_classes_quantize(registered: None) -> None:
    config = {
        "input_info": {"sample_size": [1, 3, 224, 224]},
        "compression": {
            "correction": {"rounding": "nearest"},
            "initializer": {
                "range": {"type": "mixed_clipping", "rules": ["max", "three_sigma"]},
                "precision": {"type": "largest"},
            },
        },
    }
    result = nncf_mcq.quantize(Network(), nncf.Dataset(list(images_of(4))), config)
    assert sorted(result.policy.weight_bits.values()) == [2, 8]
    assert set(result.layers[0].rule_channels) == {"max", "three_sigma"}


@pytest.mark.parametrize("page", [ROOT / "docs" / "python.md", ROOT / "README.md"], ids=lambda path: path.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images = images_of(8)
    names: dict[str, Any] = {
        "model": Network(),
        "loader": list(images),
        "transform_func": lambda item: item,
        "image": images[0],
        "validation_loader": [(image, index % 2) for index, image in enumerate(images_of(12))],
    }
    blocks = fenced(page, "python")
    for block in blocks:
        exec(compile(block.text, page.name, "exec", dont_inherit=True), names)
        if "search_targets" in block.text:
            goal = names["result"].search.goal
            assert goal is not None
            assert (goal.quantity, goal.limit, goal.images) == ("top1_drop", 1.0, 12)
    assert blocks
    assert (tmp_path / "quantized" / "model.xml").is_file()
    assert isinstance(names["nncf"], type(nncf))


def test_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    arrays = images_of(8)
    images = [torch.from_numpy(array[0]) for array in arrays]
    names: dict[str, Any] = {
        "__name__": "training",
        "model": Network(),
        "loader": list(arrays),
        "transform_func": lambda item: item,
        "images": images,
        "batches": torch.stack(images).split(3),
    }
    missing = []
    for block in fenced(ROOT / "docs" / "training.md", "python"):
        if block.title and importlib.util.find_spec(block.title) is None:
            missing.append(block.title)
            continue
        before = names.get("trained")
        exec(compile(block.text, "training.md", "exec", dont_inherit=True), names)
        assert names["trained"] is not before
        assert isinstance(names["trained"], nncf_mcq.QuantizationResult)
    assert (tmp_path / "trained" / "model.xml").is_file()
    if missing:
        pytest.skip(f"the plain loop ran; not installed: {', '.join(missing)}")


def test_the_site_is_built_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    config = load_site(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=False)
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        build(config)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("mkdocs")] == []
    reference = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    properties: Any = json_schema()["properties"]
    for name in [*properties, *RANGE_INITIALIZERS, *PRECISION_INITIALIZERS]:
        assert f"<code>{name}</code>" in reference, name
    listed = (tmp_path / "site" / "commands.html").read_text(encoding="utf-8")
    for program, source in PROGRAMS.items():
        for subcommand in typer.main.get_command(source).commands:  # type: ignore[attr-defined]
            assert f"{program} {subcommand}" in listed
    for page, module in PYTHON_REFERENCE.items():
        text = (tmp_path / "site" / "api" / f"{page}.html").read_text(encoding="utf-8")
        for name in module.__all__:
            value = getattr(module, name)
            anchors = {f"{module.__name__}.{name}", f"{getattr(value, '__module__', '')}.{name}"}
            assert inspect.ismodule(value) or any(f'id="{anchor}"' in text for anchor in anchors), name
    # Without Intel Neural Compressor the package cannot be imported.
    text = (tmp_path / "site" / "api" / "inc.html").read_text(encoding="utf-8")
    for name in exported(ROOT / "nncf_mcq" / "inc" / "__init__.py"):
        assert f'id="nncf_mcq.inc.{name}"' in text
    # Nothing comes from elsewhere when a page is read.
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"https?://(?!.*canonical)[^\"]*\.(?:js|css)", page)
