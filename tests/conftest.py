"""What every test relies on: no telemetry, few threads, reproducible property tests, and where the shared data is."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator

# Before anything imports nncf or openvino: both report usage over the network unless they see a CI.
os.environ["CI"] = "true"
os.environ["NNCF_CI"] = "1"

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT_ROOT.parent / "shared" / "data"

# PyTorch's threads wait for each other actively: on a busy machine two are many times slower than one.
torch.set_num_threads(1)

hypothesis.settings.register_profile("nncf_mcq", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("nncf_mcq")
# Of `make mutants`: a failure is enough, its smallest example is not looked for.
hypothesis.settings.register_profile(
    "mutants",
    hypothesis.settings.get_profile("nncf_mcq"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)


@pytest.fixture(scope="session", autouse=True)
def _patterns_made_once() -> Iterator[None]:
    """NNCF assembles its patterns of fused operations whenever it places quantizers: long beside a small network.

    They depend on the arguments alone; `tests/model/test_algorithm.py` checks that nothing edits them. What they match
    in a graph depends on its nodes and edges alone: it is found once for each network.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Tests inside other hosts have no NNCF, or need none.
        if "nncf" in sys.modules:
            from nncf.common import insertion_point_graph
            from nncf.common.graph import graph
            from nncf.common.graph.patterns.manager import PatternsManager

            for module in (graph, insertion_point_graph):
                find = _found_once(module.find_subgraphs_matching_pattern)
                patch.setattr(module, "find_subgraphs_matching_pattern", find)
            for name in ("get_full_hw_pattern_graph", "get_full_ignored_pattern_graph"):
                patch.setattr(PatternsManager, name, staticmethod(functools.cache(getattr(PatternsManager, name))))
        yield


def _found_once(find: Callable[..., list[list[str]]]) -> Callable[..., list[list[str]]]:
    # With the pattern, of which another one could have the number otherwise.
    known: dict[Any, tuple[Any, list[list[str]]]] = {}

    @functools.wraps(find)
    def found(graph: Any, pattern: Any, *options: Any) -> list[list[str]]:
        nodes = tuple((name, data.get("type"), data.get("metatype")) for name, data in graph.nodes(data=True))
        key = id(pattern), nodes, tuple(graph.edges), options
        if key not in known:
            known[key] = pattern, find(graph, pattern, *options)
        return [list(names) for names in known[key][1]]

    return found


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder of `pyproject.toml`."""
    return PROJECT_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets that the project never contains; the test is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the data sets in {SHARED_DATA}")
    return SHARED_DATA
