from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from benchmarks import weight_table
from benchmarks.weight_table import COMPENSATED, Subject
from nncf_mcq.config.schema import load_config
from nncf_mcq.policy import SUPPORTED_BITS
from tests.models import small_calibrated_model


@pytest.fixture(params=["asymmetric", "symmetric"])
def subject(request: pytest.FixtureRequest) -> Subject:
    calibrated, _ = small_calibrated_model()
    config = load_config({"compression": {"weights": {"mode": request.param}}, "runtime": {"threads": 1}})
    return Subject(calibrated.quantizable, calibrated.statistics.layers, config)


def test_the_plain_loop_yields_the_same_weights(subject: Subject) -> None:
    naive = subject.build_naively(subject.quantizable)
    table = subject.build(COMPENSATED)
    equal, largest = weight_table.compare(naive, table)
    assert equal > 0.999
    assert largest < 0.01
    assert [tuple(entries) for entries in naive.values()] == [SUPPORTED_BITS] * len(table.entries)
    for name, entries in naive.items():
        for bits, entry in entries.items():
            assert entry.scale == pytest.approx(table[name, bits].scale, rel=1e-3)


def test_layers_for_the_plain_loop_are_the_smallest(subject: Subject) -> None:
    chosen = subject.smallest_layers(180)
    weights = sorted(layer.weights for layer in subject.quantizable.layers)
    assert [layer.weights for layer in chosen.layers] == weights[:3]
    assert len(subject.smallest_layers(1).layers) == 1


def test_all_figures_are_printed(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = weight_table.measure_growth
    monkeypatch.setattr(weight_table, "measure_growth", lambda rounds: growth(rounds, rows=4, columns=8))
    found: dict[str, Any] = weight_table.measure(subject, rounds=1, naive_weights=80)
    found["memory"][COMPENSATED] = {"before": 100.0, "peak": 7.0, "table": 0.1}
    assert 0 < found["naive"]["share_of_weights"] < 1
    assert found["naive"]["ratio"] > 0
    assert len(found["growth"]["seconds_per_million"]) == 4
    console = Console(width=140, record=True)
    console.print(weight_table.to_table(found))
    text = console.export_text()
    for part in ("plain loop", "exponent of time", "7 MB", "coordinate_descent"):
        assert part in text


def test_memory_is_measured_in_megabytes(subject: Subject) -> None:
    found = weight_table.measure_memory(subject, COMPENSATED)
    assert found["before"] > 10
    assert found["peak"] >= 0
    assert 0 < found["table"] < 1
