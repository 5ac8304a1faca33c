"""A suite that nothing can fail is worth nothing: classes with a mistake fail the test that is there for it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from nncf_mcq import testing
from tests.registries import restored_registries

BROKEN = Path(__file__).parent / "broken"
FILES = ["activation_ranges", "datasets", "precision_initializers", "range_initializers"]

Outcome = dict[str, set[str]]
"""Name of a test class to names of its tests."""


class ExpectedFailures:
    """A plugin that runs only the tests that each class names in `fails`, and remembers which of them failed."""

    def __init__(self) -> None:
        self.expected: defaultdict[str, Outcome] = defaultdict(dict)
        self.failed: defaultdict[str, Outcome] = defaultdict(lambda: defaultdict(set))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept: list[pytest.Item] = []
        for item in items:
            assert isinstance(item, pytest.Function)
            self.expected[item.path.stem][item.cls.__name__] = item.cls.fails
            if item.originalname in item.cls.fails:
                kept.append(item)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            file, name, function = report.nodeid.split("::", 2)
            self.failed[Path(file).stem][name].add(function.partition("[")[0])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ExpectedFailures:
    """What became of the suites of the broken classes, which are forgotten again."""
    found = ExpectedFailures()
    # Neither processes of its own, nor another cache or temporary folder than this test's.
    options = ["-q", "--tb=no", "--no-summary", "-p", "no:xdist", "-p", "no:cacheprovider"]
    options.append(f"--basetemp={tmp_path_factory.mktemp('broken') / 'inner'}")
    with restored_registries():
        code = pytest.main([*options, *(str(BROKEN / f"{name}.py") for name in FILES)], plugins=[found])
    assert code == pytest.ExitCode.TESTS_FAILED
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_mistake_fails_the_test_that_is_there_for_it(found: ExpectedFailures, file: str) -> None:
    assert len(found.expected[file]) > 5
    assert dict(found.failed[file]) == found.expected[file]


def test_every_test_of_the_suites_is_failed_by_a_mistake(found: ExpectedFailures) -> None:
    suites = [getattr(testing, name) for name in testing.__all__ if name.endswith("TestCase")]
    tests = {name for suite in suites for name in dir(suite) if name.startswith("test_")}
    assert len(suites) == 6
    assert tests == {name for outcomes in found.failed.values() for names in outcomes.values() for name in names}
