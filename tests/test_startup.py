"""What is imported: help and messages come at once, and measuring needs no PyTorch."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from PIL import Image

from nncf_mcq import range_init
from nncf_mcq.config import load_config
from nncf_mcq.utils import QUANTIZATION_LIBRARIES
from tests.openvino_eval.models import small_network

ROOT = Path(__file__).resolve().parents[1]
STUBS = sorted(file for package in ("nncf_mcq", "openvino_eval") for file in (ROOT / package).rglob("__init__.pyi"))

HEAVY = {"torch", "torchvision", "nncf", "openvino", "optuna", "matplotlib", "numpy", "scipy", "PIL"}
PROGRAM = """
import importlib, sys
class Missing:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
sys.argv = {argv!r}
try:
    importlib.import_module({argv!r}[0]).main()
finally:
    print("IMPORTED", *{{name.partition(".")[0] for name in sys.modules}})
"""


def run(
    module: str, *arguments: str, blocked: tuple[str, ...] = (), folder: Path = ROOT, code: int = 0
) -> tuple[str, set[str]]:
    """What a command prints, and the packages that it has imported."""
    program = PROGRAM.format(blocked=blocked, argv=[module, *arguments])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == code, done.stderr
    out, _, packages = (done.stderr + done.stdout).rpartition("IMPORTED")
    return out, set(packages.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("nncf_mcq.cli", "--help"),
        ("nncf_mcq.cli", "quantize", "--help"),
        ("nncf_mcq.cli", "recipes"),
        ("openvino_eval.cli", "--help"),
        ("openvino_eval.cli", "compare", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_no_library_that_computes(arguments: tuple[str, ...]) -> None:
    out, packages = run(*arguments)
    assert out
    assert packages & HEAVY == set()


@pytest.mark.parametrize("config", ["nowhere.json", "model.onnx"])
def test_a_wrong_name_is_told_at_once(config: str) -> None:
    out, packages = run("nncf_mcq.cli", "quantize", config, "--output", "out", code=2)
    assert out.startswith(f"error: CONFIG: found '{config}', allowed: a JSON file")
    assert packages & HEAVY == set()


def test_models_are_measured_without_the_libraries_of_quantization(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, targets=np.arange(4))
    for name in ("one", "two"):
        ov.save_model(small_network(), tmp_path / f"{name}.xml")
    for command, *options in (
        ["inspect"],
        ["accuracy", "--data", "data.npz"],
        ["compare", "--data", "data.npz", "--rounds", "1", "--seconds", "0.01", "--json", "comparison.json"],
    ):
        arguments = (command, "one.xml", "two.xml", *options)
        out, _ = run("openvino_eval.cli", *arguments, blocked=QUANTIZATION_LIBRARIES, folder=tmp_path)
        assert "two" in out
    run(
        "openvino_eval.cli",
        "report",
        "--comparison",
        "comparison.json",
        blocked=QUANTIZATION_LIBRARIES,
        folder=tmp_path,
    )
    assert (tmp_path / "report.html").is_file()


def test_images_that_a_configuration_names_need_no_library_of_quantization(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    ov.save_model(small_network(), tmp_path / "one.xml")
    preprocessing = {"scale": "0-1", "mean": [0.5] * 3, "std": [0.5] * 3}
    configuration = {
        "model": "one.xml",
        "dataset": {"type": "image_folder", "root": ".", "preprocessing": preprocessing, "split": {"calibration": 2}},
        "compression": {"initializer": {"precision": {"type": "rl"}}},
    }
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    arguments = ("accuracy", "one.xml", "--config", "config.json")
    out, packages = run("openvino_eval.cli", *arguments, blocked=QUANTIZATION_LIBRARIES, folder=tmp_path)
    assert "4 samples" in out
    assert not packages & set(QUANTIZATION_LIBRARIES)

    (tmp_path / "config.json").write_text(json.dumps({**configuration, "modle": "a.xml"}))
    out, _ = run("openvino_eval.cli", *arguments, blocked=QUANTIZATION_LIBRARIES, folder=tmp_path, code=2)
    assert out.startswith("error: modle: found 'unknown key modle', allowed: one of the keys model, ")
    assert "compression" in out


@pytest.mark.parametrize("data", ["images", "samples.npz"])
def test_a_first_configuration_of_a_model_file_needs_no_pytorch(data: str, tmp_path: Path) -> None:
    ov.save_model(small_network(), tmp_path / "model.xml")
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for index in range(6):
        Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"images/{index}.png")
    np.savez(tmp_path / "samples.npz", generator.random((6, 3, 12, 12), dtype=np.float32))
    out, packages = run("nncf_mcq.cli", "init", "model.xml", "--data", data, folder=tmp_path)
    assert "wrote config.json" in out
    assert "nncf" in packages
    assert packages & {"torch", "torchvision", "optuna"} == set()
    load_config(tmp_path / "config.json")


def test_a_library_that_is_not_installed_is_named() -> None:
    out, _ = run("nncf_mcq.cli", "layers", "fashion_mnist", blocked=QUANTIZATION_LIBRARIES, code=2)
    assert out == "error: nncf is not installed; `pip install nncf-mcq` installs all that quantization needs\n"


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: str(stub.parent.name))
def test_stubs_hold_the_names_of_their_packages(stub: Path) -> None:
    """A name that a submodule has too would be the module as soon as that is imported."""
    name = ".".join(stub.parent.relative_to(ROOT).parts)
    package = importlib.import_module(name)
    for exported in package.__all__:
        getattr(package, exported)
    statements = ast.parse(stub.read_text(encoding="utf-8")).body
    imported = {
        item.name: node.module for node in statements if isinstance(node, ast.ImportFrom) for item in node.names
    }
    assert set(package.__all__) == set(imported)
    submodules = {path.stem for path in stub.parent.glob("*.py")} | {
        path.parent.name for path in stub.parent.glob("*/__init__.py")
    }
    assert {item for item in submodules & set(imported) if imported[item] != name} == set()


MODULES = [
    (".".join(stub.parent.relative_to(ROOT).parts), item.name)
    for stub in STUBS
    for node in ast.parse(stub.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom) and node.module is not None
    for item in node.names
    if ROOT.joinpath(*node.module.split("."), f"{item.name}.py").is_file()
]


@pytest.mark.parametrize(("package", "name"), MODULES)
def test_a_module_is_there_before_anything_has_imported_it(package: str, name: str) -> None:
    program = f"from {package} import {name}; print({name}.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f".{name}")


def test_an_unknown_name_is_an_attribute_error() -> None:
    import nncf_mcq

    assert nncf_mcq.range_init is range_init
    assert "quantize" in dir(nncf_mcq)
    with pytest.raises(AttributeError, match="module 'nncf_mcq' has no attribute 'quantise'"):
        nncf_mcq.quantise  # type: ignore[attr-defined]  # noqa: B018
