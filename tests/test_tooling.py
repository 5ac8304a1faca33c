"""The habits of the project: one set of checks, a lock that is whole, and files that a release needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nncf_mcq.utils import QUANTIZATION_LIBRARIES

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
HOOKS: list[dict[str, Any]] = [
    hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
]
CHECKS = ("ruff", "codespell", "mypy")


def lint_commands() -> Iterator[str]:
    """The checks of `make lint`."""
    printed = subprocess.run(["make", "--dry-run", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        if line.startswith(tuple(f".venv/bin/{check} " for check in CHECKS)):
            yield line.partition(" || ")[0]


def test_the_hooks_run_what_make_lint_runs() -> None:
    entries = [hook["entry"] for hook in HOOKS if hook["language"] == "system"]
    commands = list(lint_commands())
    assert len(commands) == 4
    assert entries == commands
    assert all(hook["pass_filenames"] is False for hook in HOOKS if hook["language"] == "system")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of its own with the project's hooks."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".pre-commit-config.yaml").write_text((ROOT / ".pre-commit-config.yaml").read_text())
    return tmp_path


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        ("Short", True),
        ("x" * 72, True),
        ("x" * 73, False),
        ("Short\n\n" + "the reason " * 30, True),
        ("Short\nthe reason without an empty line before it", False),
        ("Short\n# a remark of git\n", True),
    ],
)
def test_a_commit_has_a_short_subject_and_then_an_empty_line(
    repository: Path, monkeypatch: pytest.MonkeyPatch, message: str, accepted: bool
) -> None:
    monkeypatch.setenv("PRE_COMMIT_HOME", str(repository / "home"))
    (repository / "MESSAGE").write_text(message)
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--hook-stage", "commit-msg", "--commit-msg-filename", "MESSAGE"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "subject of at most 72 characters" in done.stdout, done.stderr
    assert (done.returncode == 0) is accepted, done.stdout


def requirements() -> Iterator[Requirement]:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    for item in [*PROJECT["dependencies"], *(item for extra in extras.values() for item in extra)]:
        yield Requirement(item)


def test_measuring_needs_all_but_the_libraries_of_quantization() -> None:
    needed = [item for item in PROJECT["dependencies"] if Requirement(item).name not in QUANTIZATION_LIBRARIES]
    assert PYPROJECT["dependency-groups"]["measuring"] == needed
    assert len(needed) + len(QUANTIZATION_LIBRARIES) == len(PROJECT["dependencies"])


def locked_versions(lock: Path) -> dict[str, str]:
    """Version of each package in a lock."""
    lines = [Requirement(line) for line in lock.read_text().splitlines() if line[0] != "#"]
    locked = {canonicalize_name(line.name): line.specifier for line in lines}
    assert len(locked) == len(lines)
    assert all(re.fullmatch(r"==[^,*]+", str(version)) for version in locked.values())
    return {name: str(version).removeprefix("==") for name, version in locked.items()}


def test_the_lock_has_an_allowed_version_of_every_dependency() -> None:
    locked = locked_versions(ROOT / "constraints.txt")
    assert list(locked) == sorted(locked)
    for requirement in requirements():
        if requirement.name == PROJECT["name"]:
            assert requirement.extras <= set(PROJECT["optional-dependencies"])
        else:
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("lock", sorted((ROOT / "tests" / "hosts").glob("*.txt")), ids=lambda lock: lock.stem)
def test_the_locks_of_hosts_have_an_allowed_version_of_what_is_always_installed(lock: Path) -> None:
    locked = locked_versions(lock)
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_each_host_has_a_lock_and_tests_and_is_built_from_them() -> None:
    folder = ROOT / "tests" / "hosts"
    hosts = sorted(file.stem for file in folder.glob("*.txt"))
    assert hosts == sorted(conftest.parent.name for conftest in folder.glob("*/conftest.py"))
    # As if nothing was built yet.
    commands = subprocess.run(
        ["make", "--dry-run", "--always-make", "test-hosts"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for host in hosts:
        assert f"build/hosts/{host}/bin/python -m pip install" in commands
        assert f"-r tests/hosts/{host}.txt" in commands
        assert f"build/hosts/{host}/bin/python -m pytest -q tests/hosts/{host}" in commands


def test_tests_of_hosts_are_collected_in_their_own_environment_only() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/hosts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout


def test_the_classifiers_name_no_python_that_was_not_tested() -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")
    named = [item.rsplit(" ", 1)[1] for item in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", item)]
    # Whoever adds one has run `make test PYTHON=...` with it, and says so here.
    assert named == [lowest] == ["3.11"]


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", text, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert all(date for version, date in headings[1:])
    assert PROJECT["version"] in [version for version, _ in headings] or f"will be {PROJECT['version']}." in text
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_source_archives_have_what_the_build_and_the_tests_read() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    included = settings["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"/Makefile", "/wording.txt", "/CHANGELOG.md", "/CONTRIBUTING.md", "/.pre-commit-config.yaml"} <= set(
        included
    )
    assert all((ROOT / path.lstrip("/")).exists() for path in included)
