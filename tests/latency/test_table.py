from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import ConfigError
from nncf_mcq.latency.measure import separate
from nncf_mcq.latency.table import LatencyTable
from tests.latency.tables import make_table

CHAIN = {("a", "b"): 0.5, ("b", "c"): 0.25}


def test_neighbours_in_float_do_not_switch() -> None:
    table = make_table({"a": 1.0, "b": 2.0, "c": 4.0}, CHAIN)
    assert table.predict([]) == 10.0
    assert table.predict("b") == 10.0 + 2.0 + 0.75
    assert table.predict("ab") == 10.0 + 3.0 + 0.25
    assert table.predict("abc") == table.float_ms == 17.0
    assert table.alone("b") == 2.75


@given(st.data())
def test_the_sum_of_float_layers_alone_is_a_bound(data: st.DataObject) -> None:
    names = "abcde"
    extra = {name: data.draw(st.floats(-0.5, 5.0)) for name in names}
    pairs = data.draw(st.lists(st.sampled_from(list(itertools.combinations(names, 2))), unique=True))
    table = make_table(extra, {pair: data.draw(st.floats(0.0, 2.0)) for pair in pairs})
    chosen = data.draw(st.sets(st.sampled_from(names)))
    assert table.int8_ms + sum(map(table.alone, chosen)) >= table.predict(chosen) - 1e-9
    assert all(table.alone(name) >= 0.0 for name in names)


def test_kernels_and_switches_are_told_apart() -> None:
    """A chain of five whose third switch takes four times as long for each element as the others."""
    groups = list("abcde")
    edges = list(itertools.pairwise(groups))
    kernels, sizes = np.array([1.0, 2.0, 0.5, 3.0, 1.5]), np.array([4.0, 2.0, 1.0, 3.0])
    switches = 0.1 * sizes * np.array([1.0, 1.0, 4.0, 1.0])
    around = np.array([switches[0], *(switches[1:] + switches[:-1]), switches[-1]])
    found = {"total": kernels.sum(), "int8": np.full(5, 0.2), "sizes": sizes}
    extra, single = separate(groups, edges, kernels + around, kernels - around, **found)
    np.testing.assert_allclose(extra, kernels, atol=0.02)
    np.testing.assert_allclose(single, switches, atol=0.15)
    assert single[2] > 0.15
    noise = np.random.default_rng(0).normal(0.0, 0.1, (2, 5))
    _, quiet = separate(groups, edges, kernels + noise[0], kernels + noise[1], **found)
    assert quiet.max() < 0.1, "noise was taken for switches"


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    table, path = make_table({"a": 1.0, "b": 2.0}, {("a", "b"): 0.5}), tmp_path / "table.json"
    path.write_text(table.to_json(), encoding="utf-8")
    assert LatencyTable.load(path, "table") == table
    path.write_text(table.to_json().replace("float_ms", "ms"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"table: found .*table\.json', allowed: a file of `nncf-mcq latency-table`"):
        LatencyTable.load(path, "table")
    with pytest.raises(ConfigError, match="allowed: a readable latency table"):
        LatencyTable.load(tmp_path / "no.json", "table")
