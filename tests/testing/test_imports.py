"""The suites need pytest; nothing else of the package does."""

from __future__ import annotations

import subprocess
import sys

from nncf_mcq import testing

PROGRAM = """
import sys
for name in ("pytest", "_pytest", "jsonschema", "hypothesis"):
    sys.modules[name] = None
import nncf_mcq.cli, nncf_mcq.job, openvino_eval.cli
assert not any(name.startswith("nncf_mcq.testing") for name in sys.modules)
"""


def test_the_package_is_imported_without_pytest() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_failed_assertion_of_a_suite_shows_its_values() -> None:
    """As pytest shows them of a test file: its import hook has rewritten the modules of the suites."""
    for name in testing.__all__:
        if name.endswith("TestCase"):
            module = sys.modules[getattr(testing, name).__module__]
            assert type(module.__loader__).__name__ == "AssertionRewritingHook", module.__name__
