"""mutmut on one group of modules: its settings, a run, and what became of the mutants."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.lists import ROOT, Change, Group

COPIED = ("nncf_mcq", "openvino_eval", "recipes", "benchmarks", "tests")
"""What tests read."""

_KILLED = {1, 3}
_TYPE_ERROR = 37
_SURVIVED = {0, 5, 33, 255}
"""Exit codes that mutmut keeps: the tests passed, no test calls the function, or pytest cannot run those that do."""

# Words of messages may change. What an error says is compared in tests where it has numbers.
_NOT_MUTATED = [r"raise \w+"]
_MANGLED = re.compile(r"x_(\w+)__mutmut_(?:orig|\d+)|xǁ(\w+)ǁ(\w+)__mutmut_(?:orig|\d+)")


@dataclass(frozen=True)
class Outcome:
    """What became of a group's mutants.

    Attributes:
        killed: How many made a test fail.
        type_errors: How many mypy found, as `make lint` would.
        stopped: How many took far too long or crashed.
        survivors: The others.
        left_out: How many a sample left out.
    """

    killed: int
    type_errors: int
    stopped: int
    survivors: tuple[Change, ...]
    left_out: int

    @property
    def mutants(self) -> int:
        """How many were tried."""
        return self.killed + self.type_errors + self.stopped + len(self.survivors)


def environment() -> dict[str, str]:
    """Variables for tests: no telemetry, one thread, and one order of sets."""
    return {**os.environ, "CI": "true", "NNCF_CI": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def run(group: Group, folder: Path, share: float, seed: int, processes: int) -> Outcome:
    """Makes the mutants of a group and tests them.

    Args:
        group: What is broken, and by which tests it is noticed.
        folder: Where the tool works; emptied first.
        share: Part of the mutants that is tried, drawn at random.
        seed: Of the draw.
        processes: Mutants that are tested side by side.

    Raises:
        RuntimeError: The tool failed, e.g. because the tests fail without a mutant.
    """
    prepare(group, folder)
    names = sample(group, folder, share, seed)
    command = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()"]
    command += ["run", "--max-children", str(processes), *names]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, env=environment(), check=False)
    if done.returncode:
        raise RuntimeError(f"mutmut failed, see {folder / 'log.txt'}")
    return read(group, folder)


def prepare(group: Group, folder: Path) -> None:
    """Writes the tool's settings, beside links to the project: the tool makes a copy of what they lead to."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        (folder / name).symlink_to(ROOT / name)
    type_check = [sys.executable, "-m", "mypy", "--output", "json", "--follow-imports=silent"]
    type_check += ["--disable-error-code", "unused-ignore", "--cache-dir", str(folder.parent / "mypy"), *group.files]
    settings = {
        "source_paths": ["nncf_mcq"],
        "only_mutate": group.files,
        "also_copy": [name for name in COPIED if name != "nncf_mcq"],
        "pytest_add_cli_args_test_selection": group.tests,
        # A failure is a failure: looking for its smallest example takes longer than all the rest.
        "pytest_add_cli_args": ["--hypothesis-profile=mutants"],
        # Threads of PyTorch and OpenVINO do not survive a fork.
        "process_isolation": "forkserver",
        # Some tests run models where they are collected, and from then on a fork hangs.
        "forkserver_warmup": "none",
        "do_not_mutate_patterns": _NOT_MUTATED,
        "type_check_command": type_check,
        # Seconds of the clock, four times their sum with those of the tests: a busy machine is no endless loop.
        "timeout_multiplier": 4.0,
        "timeout_constant": 30.0,
        "use_git_change_detection": False,
        "track_dependencies": False,
    }
    # JSON of strings, numbers and lists is TOML, too.
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]), encoding="utf-8")


def sample(group: Group, folder: Path, share: float, seed: int) -> list[str]:
    """Names of the mutants to try; none for all of them."""
    if share >= 1:
        return []
    mutation = importlib.import_module("mutmut.mutation.file_mutation")
    names = importlib.import_module("mutmut.utils.format_utils")
    with contextlib.chdir(folder):
        every = [
            names.get_mutant_name(Path(file), name)
            for file in group.files
            for name in mutation.mutate_file_contents(file, Path(file).read_text(encoding="utf-8")).mutant_names
        ]
    return sorted(random.Random(seed).sample(every, max(round(share * len(every)), 1)))


def read(group: Group, folder: Path) -> Outcome:
    """Reads what the tool wrote."""
    killed = type_errors = stopped = left_out = 0
    survivors: list[Change] = []
    for file in group.files:
        codes: dict[str, int | None] = {}
        meta = folder / "mutants" / f"{file}.meta"
        if meta.is_file():
            codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        killed += sum(code in _KILLED for code in codes.values())
        type_errors += sum(code == _TYPE_ERROR for code in codes.values())
        left_out += sum(code is None for code in codes.values())
        alive = [name for name, code in codes.items() if code in _SURVIVED]
        stopped += sum(code is not None and code not in {*_KILLED, *_SURVIVED, _TYPE_ERROR} for code in codes.values())
        survivors += changes(folder / "mutants" / file, alive)
    return Outcome(killed, type_errors, stopped, tuple(survivors), left_out)


def changes(mutated: Path, names: Sequence[str]) -> list[Change]:
    """What mutants do.

    Args:
        mutated: The file that the tool made, with the original and all mutants of each function.
        names: The mutants, as the tool calls them.
    """
    text = mutated.read_text(encoding="utf-8")
    lines = text.splitlines()
    functions = {node.name: lines[node.lineno - 1 : node.end_lineno] for node in _functions(ast.parse(text))}
    found = []
    for name in names:
        module, _, mangled = name.rpartition(".")
        original = re.sub(r"\d+$", "orig", mangled)
        match = _MANGLED.fullmatch(mangled)
        assert match is not None, name
        own = match[1] or f"{match[2]}.{match[3]}"
        was, becomes = (
            [re.sub(_MANGLED, own.rpartition(".")[2], line).strip() for line in functions[function]]
            for function in (original, mangled)
        )
        found.append(Change(f"{module}.{own}", *_difference(was, becomes)))
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (item for item in node.body if isinstance(item, ast.FunctionDef))


def _difference(was: list[str], becomes: list[str]) -> tuple[str, str]:
    """The lines that differ, of both."""
    blocks = difflib.SequenceMatcher(None, was, becomes, autojunk=False).get_opcodes()
    different = [block for block in blocks if block[0] != "equal"]
    return (
        "\n".join(line for _, start, end, _, _ in different for line in was[start:end]),
        "\n".join(line for _, _, _, start, end in different for line in becomes[start:end]),
    )
