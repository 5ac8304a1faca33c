"""The lists of `make mutants` belong to the code as it is."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.mutants.__main__ import judge, main
from tests.mutants.lists import ROOT, Change, Explained, Group, NamedMutant, Rule, explained, groups, named_mutants
from tests.mutants.tool import Outcome, changes, read


def test_groups_name_files_that_are_there_and_none_twice() -> None:
    files = [file for group in groups().values() for file in group.files]
    assert len(files) == len(set(files))
    assert all((ROOT / file).is_file() for group in groups().values() for file in (*group.files, *group.tests))


@pytest.mark.parametrize("mutant", named_mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_with_a_name_can_be_made(mutant: NamedMutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutant.file, copy)
    mutant.apply(tmp_path)
    compile(copy.read_text(), mutant.file, "exec")
    assert copy.read_text() != (ROOT / mutant.file).read_text()
    assert all((ROOT / file).is_file() for file in mutant.tests)
    with pytest.raises(ValueError, match="found its text 0 times"):
        mutant.apply(tmp_path)


def test_names_are_given_once() -> None:
    names = [mutant.name for mutant in named_mutants()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("change", explained().changes, ids=lambda change: change.function)
def test_what_is_explained_is_in_the_code(change: Change) -> None:
    files = {
        file.removesuffix(".py").replace("/", "."): ROOT / file for item in groups().values() for file in item.files
    }
    (module,) = [name for name in files if change.function.startswith(f"{name}.")]
    function = change.function.removeprefix(f"{module}.")
    text = files[module].read_text()
    body: list[ast.stmt] = ast.parse(text).body
    for name in function.split("."):
        (found,) = [item for item in body if isinstance(item, ast.FunctionDef | ast.ClassDef) and item.name == name]
        body = found.body
    lines = {line.strip() for line in text.splitlines()[found.lineno - 1 : found.end_lineno]}
    assert {line for line in change.was.splitlines() if line} <= lines
    assert explained().changes[change]


MUTATED = """
def x_double__mutmut_orig(value, factor=2):
    value = value * factor
    return value

def x_double__mutmut_1(value, factor=3):
    value = value * factor
    return value

def x_double__mutmut_2(value, factor=2):
    value = None
    return value

class Box:
    def xǁBoxǁopen__mutmut_orig(self):
        return xǁBoxǁopen__mutmut_orig(self)

    def xǁBoxǁopen__mutmut_12(self):
        return
"""


def test_changes_are_read_from_what_the_tool_writes(tmp_path: Path) -> None:
    (tmp_path / "box.py").write_text(MUTATED)
    names = ["box.x_double__mutmut_1", "box.x_double__mutmut_2", "box.xǁBoxǁopen__mutmut_12"]
    assert changes(tmp_path / "box.py", names) == [
        Change("box.double", "def double(value, factor=2):", "def double(value, factor=3):"),
        Change("box.double", "value = value * factor", "value = None"),
        Change("box.Box.open", "return open(self)", "return"),
    ]


def test_a_mutant_whose_tests_cannot_be_run_survives(tmp_path: Path) -> None:
    group = Group("boxes", ("box.py",), ())
    (tmp_path / "mutants").mkdir()
    (tmp_path / "mutants" / "box.py").write_text(MUTATED)
    first, second, third = "box.x_double__mutmut_1", "box.x_double__mutmut_2", "box.xǁBoxǁopen__mutmut_12"

    def outcome(**codes: int | None) -> Outcome:
        named = dict(zip((first, second, third), codes.values(), strict=True))
        (tmp_path / "mutants" / "box.py.meta").write_text(json.dumps({"exit_code_by_key": named}))
        return read(group, tmp_path)

    assert outcome(killed=1, stopped=-24, left_out=None) == Outcome(1, 0, 1, (), 1)
    found = outcome(type_error=37, unusable=255, passed=0)
    assert (found.type_errors, found.stopped, found.mutants) == (1, 0, 3)
    assert [change.becomes for change in found.survivors] == ["value = None", "return"]


def test_a_rule_allows_one_replacement_and_nothing_else() -> None:
    rule = Rule('"(f32|i8)"', ('"F32"', '"I8"'))
    assert rule.allows(Change("f", 'to(a, "f32", "i8")', 'to(a, "F32", "i8")'))
    assert rule.allows(Change("f", 'to(a, "f32", "i8")', 'to(a, "f32", "I8")'))
    assert not rule.allows(Change("f", 'to(a, "f32", "i8")', 'to(a, "F32", "I8")'))
    assert not rule.allows(Change("f", 'to(a, "f32", "i8")', 'to(b, "F32", "i8")'))
    for item in explained().rules:
        re.compile(item.was)


def test_what_survives_without_an_explanation_and_what_is_explained_in_vain_are_problems(
    capsys: pytest.CaptureFixture[str],
) -> None:
    group = Group("packing", ("nncf_mcq/ir/packing.py",), ())
    first, second = (Change("nncf_mcq.ir.packing.f", "a", becomes) for becomes in "bc")
    other = Change("nncf_mcq.ir.pair.f", "a", "b")
    whole, part = (Outcome(3, 1, 0, (first,), left_out) for left_out in (0, 7))
    assert judge(group, whole, Explained({first: "why", other: "why"}, ())) == 0
    assert "5 mutants, 3 killed by tests, 1 by mypy, 0 stopped, 1 equivalent, 0 survive\n" in capsys.readouterr().out
    assert judge(group, whole, Explained({}, ())) == 1
    assert "nncf_mcq.ir.packing.f survives" in capsys.readouterr().out
    assert judge(group, whole, Explained({}, (Rule("a", ("b",)),))) == 0
    assert judge(group, whole, Explained({first: "why", second: "why"}, ())) == 1
    assert judge(group, part, Explained({first: "why", second: "why"}, ())) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["paking"], "found paking, allowed: packing, grids"), (["--share", "0"], "--share: found 0, allowed: above 0")],
)
def test_mistakes_on_the_command_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
