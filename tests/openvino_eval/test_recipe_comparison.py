"""The comparison of a recipe's variants, on a network of three layers."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.catalog import baselines, find_config
from nncf_mcq.config.output_files import RunResult
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.model.inference import core
from nncf_mcq.model.int8 import nncf_int8
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.documents import read_document
from openvino_eval.compare import MODELS_FILE, Comparison
from openvino_eval.layers import runtime_layers
from openvino_eval.recipe_comparison import RecipeComparison, compare_recipe, read_variants
from openvino_eval.recipe_comparison.comparison import int8_baseline
from tests.models import run
from tests.openvino_eval.contests import write_config

PRECISION = "compression.initializer.precision"
VARIANTS: dict[str, dict[str, Any]] = {
    "uniform 4 bits": {PRECISION: {"type": "uniform", "bits": 4}},
    "mixed, by size": {},
}
IMAGES = 6
IGNORED = "second"
# Fewer images than the split has, and a layer that is left alone: NNCF's INT8 has to know of both.
OVERRIDES: dict[str, Any] = {
    "compression.initializer.num_init_samples": IMAGES,
    "compression.ignored_scopes": [IGNORED],
}


def settings_of(config: Path, output: Path, **changes: Any) -> RecipeComparison:
    return RecipeComparison(config, output, OVERRIDES, rounds=1, seconds=0.005, **changes)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = write_config(tmp_path_factory.mktemp("recipes") / "demo")
    file.with_name("variants.json").write_text(json.dumps(VARIANTS))
    return file


@pytest.fixture(scope="module")
def console() -> Console:
    return Console(width=100, record=True, file=io.StringIO(), highlight=False)


@pytest.fixture(scope="module")
def output(config: Path, console: Console) -> Path:
    folder = config.parent.parent / "out"
    compare_recipe(settings_of(config, folder, command="compare demo"), console)
    return folder


def test_every_variant_is_measured_beside_the_float_model_and_int8(output: Path) -> None:
    comparison = Comparison.load(output / MODELS_FILE)
    assert [row.name for row in comparison.rows] == ["FP32", "NNCF INT8", *VARIANTS]
    assert (comparison.model, comparison.command, comparison.samples) == ("demo", "compare demo", 30)
    for row in comparison.rows:
        assert 0 <= row.metrics["top1"] <= 1
        assert row.median_ms is not None
        assert Path(row.path).stat().st_size == row.xml_bytes
    layers = {row.name: (row.integer_layers, row.compute_layers) for row in comparison.rows}
    assert layers == {"FP32": (0, 3), "NNCF INT8": (2, 3), "uniform 4 bits": (2, 3), "mixed, by size": (2, 3)}
    widths = {layer.bits for layer in read_document(output / "uniform_4_bits" / "result.json", RunResult).layers}
    assert widths == {4}
    assert "uniform 4 bits" in (output / "report.html").read_text(encoding="utf-8")


def test_the_table_says_what_was_measured(output: Path, console: Console) -> None:
    text = console.export_text(clear=False)
    assert re.search(r"30 test images, batch 1, 1 thread *\n", text)
    float_row, int8_row = (
        next(line.split() for line in text.splitlines() if name in line) for name in ("FP32 ", "INT8 ")
    )
    assert float_row[2:4] == ["100.00", "0.0000"]
    assert int8_row[-2:] == ["1.00", "2/3"]


def test_latency_is_measured_with_the_configured_threads(output: Path) -> None:
    # The package's default is two.
    assert Comparison.load(output / MODELS_FILE).threads == 1


def test_int8_is_made_from_the_images_of_the_variants_and_leaves_the_ignored_layer_alone(
    config: Path, output: Path
) -> None:
    path = output / "nncf_int8" / "model.xml"
    floats = [layer.name for layer in runtime_layers(path, threads=1) if layer.is_compute and not layer.is_integer]
    assert floats == [IGNORED]
    job = Job.read(config, OVERRIDES)
    model, calibration = job.openvino_model(), job.load_dataset().calibration
    everything = collect_images((calibration[index][0][None] for index in range(16)), None, model)
    found = run(core().read_model(path), everything, threads=1, batch_size=1)
    few, all_of_them = (
        run(nncf_int8(model, images, job.config.compression.ignored_scopes), everything, threads=1, batch_size=1)
        for images in (everything[:IMAGES], everything)
    )
    np.testing.assert_array_equal(found, few)
    assert not np.array_equal(found, all_of_them)


def test_an_ignored_scope_that_matches_nothing_is_a_clear_error(config: Path) -> None:
    job = Job.read(config, {"compression.ignored_scopes": ["nowhere"]})
    with pytest.raises(ConfigError, match="nowhere"):
        int8_baseline(job, job.openvino_model(), job.load_dataset())


def test_what_an_interrupted_run_made_is_kept(config: Path, output: Path, console: Console) -> None:
    made = (output / "uniform_4_bits" / "result.json").stat().st_mtime_ns
    # As an older version or other settings would have left it.
    other = output / "mixed_by_size" / "result.json"
    other.write_text(other.read_text().replace('"openvino": "', '"openvino": "0'))
    compare_recipe(settings_of(config, output, reuse=True), console)
    assert "uniform 4 bits: reused" in console.export_text(clear=False)
    assert (output / "uniform_4_bits" / "result.json").stat().st_mtime_ns == made
    assert '"openvino": "0' not in other.read_text()


def test_ctrl_c_ends_the_whole_comparison_and_its_search_is_repeated(
    config: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = {"type": "rl", "evaluations": 30, "budget": {"weight_size": {"average_bits": 4}}, "measured_widths": 1}
    searching = config.with_name("searching.json")
    searching.write_text(config.read_text())
    settings = settings_of(searching, tmp_path / "out", reuse=True)
    variants = {"searched": {PRECISION: search}, "never": {PRECISION: {"type": "uniform", "bits": 2}}}
    before = config.with_name("variants.json").read_text()
    config.with_name("variants.json").write_text(json.dumps(variants))
    update, interrupted = ConsoleProgress.update, False

    def interrupt(self: ConsoleProgress, done: int, total: int) -> None:
        nonlocal interrupted
        update(self, done, total)
        if total == 30 and not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    monkeypatch.setattr(ConsoleProgress, "update", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            compare_recipe(settings, console)
        result = read_document(tmp_path / "out" / "searched" / "result.json", RunResult)
        assert (result.verified, result.search.ended_by) == (True, "interrupted")
        assert not (tmp_path / "out" / "never").exists()
        compare_recipe(settings, console)
        result = read_document(tmp_path / "out" / "searched" / "result.json", RunResult)
        assert result.search.ended_by is None
    finally:
        config.with_name("variants.json").write_text(before)


def test_a_configuration_without_variants_has_uniform_mixed_and_random_widths(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    model = Job.read(config).openvino_model()
    found = read_variants(config, model)
    assert list(found)[:2] == ["uniform 8 bits", "uniform 6 bits"]
    random: Any = found["random 2 to 8 bits"][PRECISION]
    pairs = random["bitwidth_per_scope"]
    assert [name for _, name in pairs] == ["first", "second", "last"]
    assert all(2 <= bits <= 8 for bits, _ in pairs)
    added = set(read_variants(config, model, with_baselines=True)) - set(found)
    # NNCF's INT8 has its row already.
    assert added == {f"baseline {name}" for name in baselines() if name != "nncf_int8"}


def test_the_variants_of_yolov3_tiny_are_its_own() -> None:
    config = find_config("yolov3_tiny")
    model = Job.read(find_config("fashion_mnist")).openvino_model()
    assert "per layer W8A8" in read_variants(config, model)
