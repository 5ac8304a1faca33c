"""The page on extending: public names only, and its classes pass the suites that it shows."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from nncf_mcq import datasets
from tests.docs.blocks import fenced
from tests.registries import restored_registries
from tests.test_architecture import exported

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [block.text for block in fenced(ROOT / "docs" / "extending.md", "python")]
PACKAGES = ("nncf_mcq", "openvino_eval")
HOSTS = ("nncf_mcq.inc", "nncf_mcq.nncf2")
"""To import one registers with another program, which is not installed here."""


class Outcomes:
    """A plugin that counts."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid}\n{report.longreprtext}")
        elif report.when == "call":
            self.passed.add(report.nodeid.split("::")[1])


def test_the_classes_pass_their_suites(tmp_path: Path) -> None:
    file = tmp_path / "test_extending.py"
    file.write_text("\n\n".join(BLOCKS))
    outcomes = Outcomes()
    options = ["-q", "--tb=no", "--no-summary", "-p", "no:xdist", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    with restored_registries():
        code = pytest.main([*options, f"--basetemp={tmp_path / 'inner'}", str(file)], plugins=[outcomes])
    assert not outcomes.failed, outcomes.failed[0]
    assert code == pytest.ExitCode.OK
    assert outcomes.passed == set(re.findall(r"^class (Test\w+)", "\n".join(BLOCKS), re.MULTILINE))
    assert len(outcomes.passed) == 5


def public_names(module: str) -> set[str]:
    """What a package lists; of one that needs another program, without importing it."""
    if module in HOSTS:
        return set(exported(ROOT / module.replace(".", "/") / "__init__.py"))
    return set(importlib.import_module(module).__all__)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_only_public_names_are_imported(page: Path) -> None:
    for block in fenced(page, "python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Import):
                named = {alias.name for alias in node.names if alias.name.startswith(PACKAGES)}
                assert all("." not in name or name in HOSTS for name in named)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
                assert {alias.name for alias in node.names} <= public_names(str(node.module)), node.module
        for name in re.findall(r"\bdatasets\.(\w+)", block.text):
            assert name in datasets.__all__, name


def test_no_path_of_a_module_is_named_as_a_place_to_import_from() -> None:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert re.findall(r"`nncf_mcq/[\w/.]+`", text) == []
