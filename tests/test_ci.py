"""What continuous integration runs: no host hides the result of the fast tests, and only failed tests are failures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAKEFILE = """
test:
\t@{test} && echo fast tests
build/hosts/%/.installed:
\t@mkdir -p $(@D)/half
\t@{install}
\t@touch $@
test-hosts: build/hosts/$(HOSTS)/.installed
\t@echo inside $(HOSTS); {inside}
"""

NO_DISTRIBUTION = "echo 'ERROR: No matching distribution found for torch==2.14.1'; exit 1"


def run(folder: Path, seconds: int = 5000, host_seconds: int = 1200, **rules: str) -> tuple[int, list[str]]:
    """Exit code and output of the script with rules of its own and the hosts one and two."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    (folder / "tests" / "hosts").mkdir(parents=True)
    for host in ("one", "two"):
        (folder / "tests" / "hosts" / f"{host}.txt").touch()
    commands = {"test": "true", "install": "true", "inside": "true", **rules}
    (folder / "Makefile").write_text(MAKEFILE.format(**commands))
    environment = os.environ | {"CI_SECONDS": str(seconds), "CI_HOST_SECONDS": str(host_seconds)}
    command = [folder / ".ci" / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if not line.startswith("make")]


def test_the_fast_tests_come_first_and_then_every_host(tmp_path: Path) -> None:
    expected = ["fast tests", "inside one", "host one: ok", "inside two", "host two: ok"]
    assert run(tmp_path) == (0, expected)


def test_fast_tests_that_fail_end_it(tmp_path: Path) -> None:
    code, lines = run(tmp_path, test="false")
    assert code != 0
    assert lines == []


def test_a_host_that_cannot_be_installed_is_one_line_and_no_failure(tmp_path: Path) -> None:
    code, lines = run(tmp_path, install=f"test $* = two || {{ {NO_DISTRIBUTION}; }}")
    message = (
        "host one: not tested, as its packages cannot be installed: ERROR: No matching distribution found for torch"
    )
    assert (code, lines) == (0, ["fast tests", f"{message}==2.14.1", "inside two", "host two: ok"])
    assert not (tmp_path / "build" / "hosts" / "one").exists()


def test_tests_of_a_host_that_fail_are_a_failure_after_the_others_ran(tmp_path: Path) -> None:
    code, lines = run(tmp_path, inside="test $(HOSTS) = two")
    assert (code, lines[1:]) == (
        1,
        ["inside one", "inside two", "host two: ok", "error: the tests inside one failed"],
    )


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(1203, "its packages cannot be installed: not done after 3 s"), (1200, "no time is left")],
)
def test_time_that_is_over_is_no_failure(tmp_path: Path, seconds: int, reason: str) -> None:
    code, lines = run(tmp_path, seconds=seconds, install="sleep 30")
    assert code == 0
    assert lines == ["fast tests", f"host one: not tested, as {reason}", "host two: not tested, as no time is left"]


def test_tests_of_a_host_that_are_not_done_in_time_are_no_failure(tmp_path: Path) -> None:
    code, lines = run(tmp_path, host_seconds=1, inside="test $(HOSTS) = two || sleep 30")
    assert (code, lines) == (
        0,
        ["fast tests", "inside one", "host one: the tests were not done after 1 s", "inside two", "host two: ok"],
    )


def test_an_environment_that_a_kill_left_half_installed_is_made_anew(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tests" / "hosts").mkdir(parents=True)
    (tmp_path / "tests" / "hosts" / "tiny.txt").write_text("# nothing\n")
    environment = tmp_path / "build" / "hosts" / "tiny"

    def build() -> None:
        command = ["make", "build/hosts/tiny/.installed", f"PYTHON={sys.executable}"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        subprocess.run([environment / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True)

    # Killed before pip was there.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    build()
    assert not (environment / ".incomplete").exists()
    # Killed while pip wrote a package.
    (environment / ".installed").unlink()
    (environment / ".incomplete").touch()
    (half := environment / "half").touch()
    build()
    assert not half.exists()
    # Whole, for an older lock.
    (environment / ".installed").unlink()
    (whole := environment / "whole").touch()
    build()
    assert whole.exists()
