from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import ConfigError
from nncf_mcq.latency.measure import design, fit
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
    """A chain of twenty, measured with errors of two percent: far more than the smallest layers make."""
    random = np.random.default_rng(1)
    count = 20
    edges = list(itertools.pairwise(range(count)))
    portions = random.dirichlet(np.ones(count))
    kernels, sizes = 20.0 * portions * random.uniform(0.5, 1.5, count), random.uniform(1.0, 4.0, count - 1)
    switches = 0.05 * sizes

    def time_of(chosen: np.ndarray) -> float:
        switched = sum(ms for ms, (left, right) in zip(switches, edges, strict=True) if chosen[left] != chosen[right])
        return float(10.0 + kernels[chosen].sum() + switched)

    chosen = design(count)
    times = np.array([time_of(row) for row in chosen])
    noisy = times * random.normal(1.0, 0.02, len(times))
    others = np.random.default_rng(2).random((40, count)) < 0.3
    expected = np.array([time_of(row) for row in others])

    def error_of(measured: np.ndarray) -> float:
        int8, extra, single = fit(chosen, measured, edges, sizes, portions)
        assert int8 == pytest.approx(10.0, rel=0.02)
        assert single.sum() == pytest.approx(switches.sum(), rel=0.4)
        switched = [[row[left] != row[right] for left, right in edges] for row in others]
        return float(np.abs((int8 + others @ extra + np.array(switched) @ single) / expected - 1).mean())

    # Without any fit, each layer slower by the factor of the whole model.
    proportional = 10.0 + others @ portions * kernels.sum()
    assert np.abs(proportional / expected - 1).mean() > 0.045
    assert error_of(noisy) < 0.02
    # What stands between the fit and the truth is the damping.
    assert error_of(times) < 0.015


@pytest.mark.parametrize("groups", [1, 4, 50])
def test_variants_come_in_opposite_pairs(groups: int) -> None:
    chosen = design(groups)
    body = chosen[:-6]
    pairs = len(body) // 2
    assert pairs >= groups
    np.testing.assert_array_equal(body[:pairs], ~body[pairs:])
    assert chosen[-6:].tolist() == [[False] * groups] * 3 + [[True] * groups] * 3
    assert body.any(axis=0).all()


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    table, path = make_table({"a": 1.0, "b": 2.0}, {("a", "b"): 0.5}), tmp_path / "table.json"
    path.write_text(table.to_json(), encoding="utf-8")
    assert LatencyTable.load(path, "table") == table
    path.write_text(table.to_json().replace("float_ms", "ms"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"table: found .*table\.json', allowed: a file of `nncf-mcq latency-table`"):
        LatencyTable.load(path, "table")
    with pytest.raises(ConfigError, match=r"latency-table` \(no such file\)"):
        LatencyTable.load(tmp_path / "no.json", "table")
