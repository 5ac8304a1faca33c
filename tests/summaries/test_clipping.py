from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from nncf_mcq.cli import application

SMALL = ["--set", "dataset.split.calibration=16", "--set", "compression.weights.bits=[2,4]"]
SMALL += ["--set", "dataset.full_root=null", "--set", "dataset.split.search=16", "--set", "dataset.split.report=16"]
RULES = ["max", "percentile", "mse", "output_mse"]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(application, ["clipping", "fashion_mnist", *SMALL, *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clipping") / "new" / "folder"
    run("--output", str(folder))
    return folder


@pytest.fixture(scope="module")
def report(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "clipping.json").read_text())
    return found


def test_every_layer_and_width_has_a_record(report: dict[str, Any]) -> None:
    names = {record["layer"] for record in report["layers"]}
    assert len(names) > 10
    assert sorted((r["layer"], r["bits"]) for r in report["layers"]) == sorted((n, b) for n in names for b in (2, 4))
    assert report["images"] == 16
    assert report["initializer"]["type"] == "mixed_clipping"


def test_margins_are_those_of_the_best_single_rule(report: dict[str, Any]) -> None:
    for record in [*report["layers"], *report["summary"]]:
        assert list(record["rule_errors"]) == list(record["rule_channels"]) == RULES
        assert record["margin"] == pytest.approx(min(record["rule_errors"].values()) / record["error"])
        assert record["margin"] >= 1 - 1e-5
    for record in report["layers"]:
        assert record["rule_channels"][record["rule"]] == max(record["rule_channels"].values())
    two, four = report["summary"]
    assert (two["bits"], four["bits"]) == (2, 4)
    assert two["margin"] > 1.01
    assert two["error"] > 4 * four["error"]


def test_the_chart_names_every_rule(output: Path) -> None:
    assert {path.name for path in output.iterdir()} == {"clipping.json", "clipping.svg"}
    texts = {"".join(item.itertext()).strip() for item in ElementTree.parse(output / "clipping.svg").iter()}
    assert {*RULES, "mixed_clipping", "weight bits"} <= texts


def test_rules_by_layer_are_compared_where_they_were_tried(tmp_path: Path, report: dict[str, Any]) -> None:
    names = list(dict.fromkeys(record["layer"] for record in report["layers"]))
    rules = [{"type": "max", "target_scopes": [names[0]]}, {"type": "mixed_clipping", "rules": ["mse", "kl"]}]
    option = ("--set", f"compression.initializer.range={json.dumps(rules)}")
    # As text too: the table has to cope with layers that tried other rules.
    assert names[0] in run(*option, "--output", str(tmp_path))
    found = json.loads((tmp_path / "clipping.json").read_text())
    assert [entry["type"] for entry in found["initializer"]] == ["max", "mixed_clipping"]
    assert found["initializer"][0] == rules[0]
    for record in found["layers"]:
        tried = ["max"] if record["layer"] == names[0] else ["mse", "kl"]
        assert list(record["rule_errors"]) == list(record["rule_channels"]) == tried
    for row in found["summary"]:
        records = [record for record in found["layers"] if record["bits"] == row["bits"]]
        assert list(row["rule_errors"]) == ["max", "mse", "kl"]
        assert row["rule_errors"]["max"] == pytest.approx(row["error"])
        for rule in ("mse", "kl"):
            assert row["rule_errors"][rule] >= row["error"] * (1 - 1e-5)
            assert row["rule_channels"][rule] == sum(record["rule_channels"].get(rule, 0) for record in records)


def test_a_single_rule_is_reported_as_json_without_anything_else() -> None:
    report = json.loads(run("--json", "--set", "compression.initializer.range=aciq"))
    for record in report["layers"]:
        assert record["rule_errors"] == {"aciq": record["error"]}
        assert record["margin"] == 1
