from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.growth import AXES, STAGES, Point, bend, grow_evaluations, main, measure, print_table
from benchmarks.growth_chart import draw
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.samples import Samples
from nncf_mcq.testing.networks import images, small_config, small_network
from tests.commands import write_config


def points(name: str, power: float) -> list[Point]:
    return [Point(name, size, {"agent": size**power}, {"resident": 1000.0 + size}) for size in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize(("power", "low", "high"), [(1.0, 1.0, 1.0), (2.0, 1.9, 2.1), (0.5, 0.0, 0.7)])
def test_a_line_has_no_bend(power: float, low: float, high: float) -> None:
    found = bend(points("network", power), lambda point: point.seconds["agent"])
    assert found is not None
    assert low <= found <= high


def test_what_does_not_grow_has_no_bend_to_tell() -> None:
    assert bend(points("network", 1.0), lambda point: point.megabytes["resident"]) is None
    assert bend(points("network", 1.0)[:2], lambda point: point.seconds["agent"]) is None


def test_every_part_has_its_time_and_memory_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    point = measure("small", None, small_network(), Samples([images(4)]), small_config())
    assert tuple(point.seconds) == tuple(point.megabytes) == STAGES
    assert min(*point.seconds.values(), *point.megabytes.values()) > 0
    # Two layers share their weights.
    assert point.size == sum(layer.weights for layer in find_layers(small_network()).layers) - 6 * 6 * 9
    found = [dataclasses.replace(point, size=4), dataclasses.replace(point, size=8)]
    print_table("images", found)
    assert "| small | 8 " in capsys.readouterr().out
    series = {name: [dataclasses.asdict(point) for point in found] for name in ("a", "b")}
    text = draw(AXES["images"], series)
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert all(f"{name}: {part}" in text for name in series for part in STAGES)


def test_a_search_is_looked_at_on_its_way(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"type": "ilp"})
    found = grow_evaluations(str(config), [20, 30], ["dataset.split.calibration=4", "dataset.split.search=4"])
    assert [point.size for point in found] == [20, 30]
    first, second = found
    assert 0 < first.seconds["agent"] < second.seconds["agent"]
    assert 0 < first.seconds["scoring"] < second.seconds["scoring"]
    assert min(point.megabytes["resident"] for point in found) > 10


def test_mistakes_are_told_without_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluations", str(tmp_path / "missing.json")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    for arguments in (["images", "x", "--sizes", "0"], ["network", "x", "--images", "0"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "allowed: 1 or more" in capsys.readouterr().err
