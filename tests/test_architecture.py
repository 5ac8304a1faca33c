"""The direction of imports, the boundary between the packages, and the size of files; read from the source alone."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

ORDER = (
    *("errors", "utils", "policy", "config", "model", "data", "metrics", "calibration", "range_init", "weights", "ir"),
    *(
        "latency",
        "precision_init",
        "pipeline",
        "result",
        "training",
        "completion",
        "pareto_front",
        "api",
        "inc",
        "nncf2",
        "job",
        "summaries",
        "deployment",
        "worker",
        "starter",
        "cli",
        "entry",
        "testing",
    ),
)
"""Modules and packages of `nncf_mcq`: each imports only itself and those before it."""

ROOT_MODULES = {"__init__", "completion", "entry", "job", "pareto_front", "result", "worker", "policy", "errors"}
LONGEST = 400


class Import(NamedTuple):
    """One name that a file imports, wherever in the file that is; `name` is None for `import module`."""

    file: Path
    module: str
    name: str | None


def imports(folder: Path, package: str) -> Iterator[Import]:
    """All imports of a package in a folder's files."""
    # Lazy packages have their imports in a stub.
    for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.pyi")]):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: a relative import"
                found = [Import(file, node.module or "", alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                found = [Import(file, alias.name, None) for alias in node.names]
            else:
                continue
            yield from (item for item in found if item.module.split(".")[0] == package)


def exported(init: Path) -> set[str]:
    """The names in the `__all__` of a package, a literal list in its stub or in the file itself."""
    stub = init.with_suffix(".pyi")
    init = stub if stub.is_file() else init
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return set()


def against_the_order(root: Path) -> list[str]:
    """Imports of `nncf_mcq` by itself from a part that stands behind the importing one, or from its root."""
    package, found = root / "nncf_mcq", []
    for item in imports(package, "nncf_mcq"):
        own = item.file.relative_to(package).with_suffix("").parts[0]
        _, *parts = (*item.module.split("."), *([item.name] if item.name else []))
        if own != "__init__" and (not parts or parts[0] not in ORDER or ORDER.index(parts[0]) > ORDER.index(own)):
            found.append(f"{item.file}: {item.module} {item.name}")
    return found


def back_to_the_evaluation(root: Path) -> list[str]:
    """Imports of `openvino_eval` by `nncf_mcq`."""
    return [f"{item.file}: {item.module}" for item in imports(root / "nncf_mcq", "openvino_eval")]


def beyond_the_exports(root: Path) -> list[str]:
    """Names that `openvino_eval` reads although no package of `nncf_mcq` lists them in its `__all__`."""
    found = []
    for item in imports(root / "openvino_eval", "nncf_mcq"):
        init = root.joinpath(*item.module.split("."), "__init__.py")
        is_near = item.module.count(".") <= 1 and init.is_file()
        if item.name is None or not is_near or item.name not in exported(init):
            found.append(f"{item.file}: {item.module} {item.name}")
    return found


def too_long(root: Path) -> list[str]:
    """Files of more than `LONGEST` lines."""
    files = [
        file
        for folder in ("nncf_mcq", "openvino_eval", "recipes", "benchmarks")
        for file in sorted((root / folder).rglob("*.py"))
    ]
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    return [f"{file}: {length} lines" for file, length in lengths.items() if length > LONGEST]


def strangers(root: Path) -> list[str]:
    """What lies in the root of `nncf_mcq` and does not belong there, or has no place in the order."""
    package = root / "nncf_mcq"
    modules = {file.stem for file in package.glob("*.py")} ^ ROOT_MODULES
    packages = {file.parent.name for file in package.glob("*/__init__.py")}
    return sorted(modules | (packages - set(ORDER)) | (ROOT_MODULES - {"__init__"} - set(ORDER)))


CHECKS = (against_the_order, back_to_the_evaluation, beyond_the_exports, too_long, strangers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_is_in_order(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize(
    ("check", "file", "text"),
    [
        (against_the_order, "nncf_mcq/model/new.py", "def late():\n    from nncf_mcq.weights.moments import x\n"),
        (against_the_order, "nncf_mcq/model/new.py", "from nncf_mcq import weights\n"),
        (against_the_order, "nncf_mcq/model/new.py", "import nncf_mcq\n"),
        (back_to_the_evaluation, "nncf_mcq/cli/new.py", "import openvino_eval.results\n"),
        (beyond_the_exports, "openvino_eval/new.py", "from nncf_mcq.model.inference import core\n"),
        (beyond_the_exports, "openvino_eval/new.py", "from nncf_mcq.model import with_batch\n"),
        (beyond_the_exports, "openvino_eval/new.py", "from nncf_mcq.job import Job\n"),
        (beyond_the_exports, "openvino_eval/new.py", "import nncf_mcq.model\n"),
        (too_long, "benchmarks/new.py", "pass\n" * (LONGEST + 1)),
        (strangers, "nncf_mcq/new.py", ""),
        (strangers, "nncf_mcq/new/__init__.py", ""),
    ],
)
def test_what_is_out_of_order_is_found(
    check: Callable[[Path], list[str]], file: str, text: str, tmp_path: Path
) -> None:
    for source in sorted([*(ROOT / "nncf_mcq").rglob("*.py"), *(ROOT / "nncf_mcq").rglob("*.pyi")]):
        if source.stem == "__init__" or source.parent.name == "nncf_mcq":
            copy = tmp_path / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    assert check(tmp_path) == []
    broken = tmp_path / file
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text(text, encoding="utf-8")
    assert len(check(tmp_path)) == 1
