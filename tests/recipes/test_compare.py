"""The script `recipes/compare.py`: its command line; what it runs is tested with `openvino_eval`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from openvino_eval.compare import MODELS_FILE, Comparison
from tests.openvino_eval.contests import write_config
from tests.recipes.conftest import LoadRecipeFile

UNIFORM = {"compression.initializer.precision": {"type": "uniform", "bits": 4}}


def test_the_command_measures_and_prints_a_table(
    load_recipe_file: LoadRecipeFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "demo")
    config.with_name("variants.json").write_text(json.dumps({"four bits": UNIFORM}))
    output = tmp_path / "out"
    arguments = [str(config), "--output", str(output), "--rounds", "1", "--set", "compression.activations.bits=7"]
    load_recipe_file("compare.py").main(arguments)
    printed = capsys.readouterr().out
    assert re.search(r"30 test images, batch 1, 1 thread *\n", printed)
    assert f"Report:  {output}/report.html" in printed
    comparison = Comparison.load(output / MODELS_FILE)
    assert [row.name for row in comparison.rows] == ["FP32", "NNCF INT8", "four bits"]
    assert comparison.command == f"python recipes/compare.py {' '.join(arguments)}"
    result = json.loads((output / "four_bits" / "result.json").read_text())
    assert {layer["activation_bits"] for layer in result["layers"]} == {7}


def test_bad_input_is_one_message_and_an_exit_code(
    load_recipe_file: LoadRecipeFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        load_recipe_file("compare.py").main(["nowhere", "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: CONFIG: found 'nowhere', allowed: a JSON file, or a recipe: ")
    assert not (tmp_path / "out").exists()
