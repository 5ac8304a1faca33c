from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from benchmarks import ablation
from benchmarks.ablation_cases import ADAROUND, BITS, GRANULARITIES, MIXED, RULES, SEQUENTIAL, Case, make_cases
from benchmarks.ablation_chart import draw_bytes
from benchmarks.ablation_report import findings
from benchmarks.ablation_rows import Rows
from benchmarks.adaround import adaround, adaround_table
from nncf_mcq.range_init.grid import Grid, grid_from_range
from nncf_mcq.weights.moments import multiply
from nncf_mcq.weights.rounding import descend, round_to_nearest

NETWORK = """
import torch

def create():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 4, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(100, 10)).eval()
"""


@pytest.fixture(scope="module")
def job_file(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("job")
    (folder / "tiny.py").write_text(NETWORK)
    config = {
        "model": "tiny.py:create",
        "input_info": {"sample_size": [1, 1, 28, 28]},
        "dataset": {
            "type": "fashion_mnist",
            "root": str(project_root / "recipes" / "fashion_mnist" / "data"),
            "split": {"calibration": 16, "search": 16, "report": 32},
        },
        "metric": "top1",
        "compression": {"initializer": {"num_init_samples": 16}},
        "runtime": {"threads": 1},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


def run(job_file: Path, output: Path, *options: str) -> dict[str, Any]:
    selection = ["--bits", "3", "--granularity", "channel", "--rules", "mse", MIXED]
    ablation.main([str(job_file), "--output", str(output), *(options or selection)])
    found: dict[str, Any] = json.loads((output / "ablation.json").read_text())
    return found


@pytest.fixture(scope="module")
def output(job_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "adaround_table", functools.partial(adaround_table, iterations=200))
        run(job_file, folder)
    return folder


def test_every_case_has_a_row(output: Path) -> None:
    data = json.loads((output / "ablation.json").read_text())
    cases = make_cases([3], ["channel"], ["mse", MIXED])
    assert set(data["rows"]) == {case.key for case in cases}
    assert {SEQUENTIAL, ADAROUND} <= {case.rounding for case in cases}
    for row in data["rows"].values():
        assert 0 <= row["top1"] <= 1
        assert 0 <= row["agreement"] <= 1
        assert row["kl"] > 0
        assert 0 < row["relative_error"] < 1
        assert row["seconds"] > 0
    assert data["setup"]["report_images"] == 32
    assert data["references"]["nncf_int8"]["kl"] > 0
    errors = {row["rounding"]: row["relative_error"] for row in data["rows"].values() if row["rule"] == MIXED}
    assert errors["coordinate_descent"] < errors["nearest"]
    assert errors[ADAROUND] < errors["nearest"]


def test_a_second_run_measures_only_what_is_missing(
    job_file: Path, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((output / "ablation.json").read_text())

    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be measured")

    with monkeypatch.context() as patch:
        patch.setattr(ablation, "Bench", fail)
        assert run(job_file, output) == before
    assert "24 of 24 rows" in capsys.readouterr().out

    lost = Case(3, "channel", "mse", "nearest").key
    failed = Case(3, "channel", MIXED, "nearest").key
    changed = json.loads(json.dumps(before))
    del changed["rows"][lost]
    changed["rows"][failed] = {"error": "no memory"}
    (output / "ablation.json").write_text(json.dumps(changed))
    measured: list[str] = []
    measure = ablation.Bench.measure

    def record(self: ablation.Bench, case: Case) -> Any:
        measured.append(case.key)
        return measure(self, case)

    monkeypatch.setattr(ablation.Bench, "measure", record)
    after = run(job_file, output)
    assert sorted(measured) == sorted([lost, failed])
    assert set(after["rows"]) == set(before["rows"])
    for key, row in before["rows"].items():
        assert after["rows"][key]["kl"] == row["kl"]


def test_rows_of_another_configuration_are_refused(
    job_file: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(job_file, output, "--set", "compression.activations.bits=6")
    assert "another configuration" in capsys.readouterr().err


def test_the_report_holds_the_tables_and_findings(job_file: Path, output: Path) -> None:
    for name in ("ablation.md", "ablation.svg"):
        (output / name).unlink()
    data = run(job_file, output, "--report-only")
    text = (output / "ablation.md").read_text()
    row = data["rows"][Case(3, "channel", "mse", "coordinate_descent").key]
    mixed = data["rows"][Case(3, "channel", MIXED, "coordinate_descent").key]
    assert f"KL ratio 3 bits {mixed['kl'] / row['kl']:.2f} (mse)" in text
    assert f"| mse | **{row['kl']:.4f} · {100 * row['agreement']:.2f} · {100 * row['top1']:.2f}** |" in text or (
        row["kl"] < 0.01
    )
    for part in ("NNCF INT8", "## Corrections", "| AdaRound |", "| + sequential pass |", "## Seconds", "gain energy"):
        assert part in text
    texts = {"".join(item.itertext()).strip() for item in ElementTree.parse(output / "ablation.svg").iter()}
    assert {"mse", MIXED, "AdaRound", "bias+regression", "weight bits"} <= texts


def test_helps_and_hurts_follow_the_ratios() -> None:
    cases = [Case(bits, "channel", "mse", "nearest", name) for bits in (8, 2) for name in ("bias", "bias+energy")]
    values = dict(zip(cases, (0.01, 0.02, 0.4, 0.1), strict=True))
    rows = {
        case.key: {"bits": case.bits, "granularity": "channel", "rule": "mse", "kl": value}
        for case, value in values.items()
    }
    (line,) = findings(Rows({"rows": rows}))
    assert "8 bits 2.00, 2 bits 0.25; helps at 2 bits, hurts at 8 bits" in line


def test_cases_are_distinct_and_the_chart_can_show_all() -> None:
    cases = make_cases(BITS, GRANULARITIES, list(RULES))
    assert len({case.key for case in cases}) == len(cases) == 6 * 2 * 54 + 6 + 3
    rows = {
        case.key: {"bits": case.bits, "granularity": case.granularity, "rule": case.rule, "kl": 2.0**-case.bits}
        for case in cases
    }
    assert draw_bytes(Rows({"rows": rows}), "svg").startswith(b"<?xml")


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("groups", [1, 3])
def test_adaround_beats_rounding_to_nearest(bits: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    weights = torch.randn(groups, 6, 12, generator=generator)
    mixing = torch.randn(groups, 12, 12, generator=generator)
    moments = torch.bmm(mixing, mixing.transpose(1, 2)) / 12 + 0.05 * torch.eye(12)
    grid = grid_from_range(0.8 * weights.amin(dim=2), 0.8 * weights.amax(dim=2), bits, "asymmetric")

    def error(levels: torch.Tensor) -> float:
        difference = weights - grid.values(levels)
        return float((torch.bmm(difference, moments) * difference).sum())

    levels = adaround(weights, grid, moments, iterations=500)
    stacked = Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high)
    nearest = round_to_nearest(weights, stacked)
    assert error(levels) < error(nearest[0])
    lowered, pull = nearest, multiply(weights - stacked.values(nearest), moments)
    for _ in range(3):
        lowered, pull = descend(stacked, lowered, pull, moments)
    assert error(levels) < 1.5 * error(lowered[0])
    assert torch.equal(levels, levels.round())
    assert levels.min() >= 0
    assert levels.max() <= 2**bits - 1
    inside = (nearest[0] > 0) & (nearest[0] < 2**bits - 1)
    assert ((levels - nearest[0]).abs()[inside] <= 1).all()
