from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq.config.catalog import baselines, find_baseline, find_config, recipe_names
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.policy import INT8_PRECISIONS

FEW: dict[str, Any] = {
    "runtime.threads": 1,
    "dataset.full_root": None,
    "dataset.split": {"calibration": 12, "search": 8, "report": 40},
}


def read(name: str, **overrides: Any) -> Job:
    return Job.read(find_config("fashion_mnist"), {**find_baseline(name).values, **FEW, **overrides})


@pytest.mark.parametrize("name", baselines())
@pytest.mark.parametrize("recipe", recipe_names())
def test_every_baseline_fits_every_recipe(name: str, recipe: str) -> None:
    plain = Job.read(find_config(recipe)).config
    changed = Job.read(find_config(recipe), find_baseline(name).values).config
    assert (changed.compression, changed.calibration) != (plain.compression, plain.calibration)
    assert (changed.model, changed.dataset, changed.metric) == (plain.model, plain.dataset, plain.metric)


def test_a_value_inside_a_baseline_can_be_replaced_and_the_baseline_stays() -> None:
    path = "compression.initializer.precision.budget.weight_size.average_bits"
    limits = read("zeroq", **{path: 3}).config.compression.initializer.precision.limits
    assert limits is not None
    assert limits.weight_size is not None
    assert limits.weight_size.average_bits == 3
    baseline = find_baseline("zeroq")
    Job.read(find_config("fashion_mnist"), {**baseline.values, path: 3})
    precision: Any = baseline.values["compression.initializer.precision"]
    assert precision["budget"]["weight_size"]["average_bits"] == 4


def test_nncf_int8_is_measured_verified_and_saved(tmp_path: Path) -> None:
    result = read("nncf_int8").run()
    result.save(tmp_path)
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["search"]["method"] == "quantization"
    assert saved["metrics"]["quantized"]["top1"] > 0.8
    assert {layer["bits"] for layer in saved["layers"]} == {8}
    assert {layer["runtime_precision"] for layer in saved["layers"]} <= INT8_PRECISIONS
    assert saved["metrics"]["quantized"]["bin_bytes"] < saved["metrics"]["float"]["bin_bytes"] / 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"values": {}}', "description: found None, allowed: a value: the key is required"),
        ('{"description": "", "values": []}', "values: found [], allowed: a JSON object"),
        ("[]", "config: found 'list', allowed: a JSON object"),
    ],
)
def test_a_file_that_is_no_baseline(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "own.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(message) + "$"):
        find_baseline(str(file))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        find_baseline("halp")
    assert str(caught.value) == f"--baseline: found 'halp', allowed: a JSON file, or one of {', '.join(baselines())}"
