"""Breaks the modules behind "bit for bit, within the budget", and tells which mistakes no test notices.

Usage: python -m tests.mutants [GROUP ...] [--share 0.2] [--seed 0]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutants import tool
from tests.mutants.lists import ROOT, Change, Explained, Group, NamedMutant, explained, groups, named_mutants

NAMED = "named"
"""The group of the mutants that are checked by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line and runs; 1 where a mutant survives without an explanation."""
    known = groups()
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"default: all, {', '.join([*known, NAMED])}")
    parser.add_argument("--share", type=float, default=1.0, help="part of the mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--processes", type=int, default=1, help="mutants that are tested side by side")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants", help="where the copies are made")
    parsed = parser.parse_args(arguments)
    wanted = parsed.groups or [*known, NAMED]
    unknown = sorted(set(wanted) - {*known, NAMED})
    if unknown:
        parser.error(f"found {', '.join(unknown)}, allowed: {', '.join([*known, NAMED])}")
    if not 0 < parsed.share <= 1:
        parser.error(f"--share: found {parsed.share:g}, allowed: above 0, up to 1")
    problems = 0
    for name in wanted:
        start = time.monotonic()
        if name == NAMED:
            problems += check_named(named_mutants(), parsed.folder / NAMED)
        else:
            outcome = tool.run(known[name], parsed.folder / name, parsed.share, parsed.seed, parsed.processes)
            problems += judge(known[name], outcome, explained())
        print(f"{name}: {time.monotonic() - start:.0f} s\n", flush=True)
    return 1 if problems else 0


def judge(group: Group, outcome: tool.Outcome, reasons: Explained) -> int:
    """Prints what became of a group's mutants.

    Args:
        group: What was broken.
        outcome: What became of it.
        reasons: The survivors that are explained.

    Returns:
        How many survive without an explanation, and how many are explained that do not survive.
    """
    unexplained = [change for change in outcome.survivors if not reasons.allows(change)]
    modules = {file.removesuffix(".py").replace("/", ".") for file in group.files}
    own = [change for change in reasons.changes if any(change.function.startswith(f"{module}.") for module in modules)]
    needless = [] if outcome.left_out else [change for change in own if change not in outcome.survivors]
    print(
        f"{group.name}: {outcome.mutants} mutants, {outcome.killed} killed by tests, {outcome.type_errors} by mypy, "
        f"{outcome.stopped} stopped, {len(outcome.survivors) - len(unexplained)} equivalent, "
        f"{len(unexplained)} survive" + (f"; {outcome.left_out} not tried" if outcome.left_out else "")
    )
    _print(unexplained, "survives: write the test that fails, or explain it in tests/mutants/equivalent.toml")
    _print(needless, "is explained in tests/mutants/equivalent.toml and does not survive")
    return len(unexplained) + len(needless)


def check_named(mutants: Sequence[NamedMutant], folder: Path) -> int:
    """Applies each mutant in a copy of the project; returns how many survive.

    Raises:
        RuntimeError: The tests fail without any.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in tool.COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    if not passes(dict.fromkeys(file for mutant in mutants for file in mutant.tests), folder):
        raise RuntimeError("the tests fail without a mutant")
    survivors = []
    for mutant in mutants:
        mutant.apply(folder)
        if passes(mutant.tests, folder):
            survivors.append(mutant.name)
        shutil.copy(ROOT / mutant.file, folder / mutant.file)
    print(f"{NAMED}: {len(mutants)} mutants, {len(mutants) - len(survivors)} killed, {len(survivors)} survive")
    for name in survivors:
        print(f"\n{name}\n  survives: write the test that fails")
    return len(survivors)


def passes(tests: Iterable[str], folder: Path) -> bool:
    """Whether tests pass in a copy of the project.

    Raises:
        RuntimeError: They cannot be run.
    """
    options = ["-x", "-q", "--hypothesis-profile=mutants", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=folder,
        env={**tool.environment(), "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # 2: the module cannot be imported.
    if done.returncode not in {0, 1, 2}:
        raise RuntimeError(f"pytest failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def _print(found: Sequence[Change], what: str) -> None:
    for change in found:
        print(f"\n{change.function} {what}")
        for sign, text in (("-", change.was), ("+", change.becomes)):
            for line in text.splitlines():
                print(f"  {sign} {line}")


if __name__ == "__main__":
    sys.exit(main())
