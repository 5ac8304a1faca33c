"""The benchmark of the sequential pass over draws: what it measures, and what it prints of known draws."""

from __future__ import annotations

import argparse
import re

import numpy as np
import pytest
from rich.console import Console

from benchmarks import sequential_gain
from benchmarks.draws import add_options, read_draw
from benchmarks.sequential_gain import Draw, measure, to_table
from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.job import Job
from nncf_mcq.utils.progress import SilentProgress, Stages


def test_the_table_has_each_draw_and_the_paired_mean(capsys: pytest.CaptureFixture[str]) -> None:
    draws = [
        Draw(seed, 3, np.array([0.2 + seed, 0.1 + seed, 80.0]), np.array([0.1 + seed, 0.07 + seed, 82.0 + seed]))
        for seed in (0, 1)
    ]
    Console(width=110).print(to_table(draws))
    shown = capsys.readouterr().out
    # Divergences differ by 1 from draw to draw, and what the pass changes in them does not.
    assert float(re.search(r"0\.7 -> 0\.6 ± (\S+)", shown)[1]) < 1e-9  # type: ignore[index]
    assert "80 -> 82.5 ± 0.5" in shown
    assert "1.2 -> 1.1" in shown


@pytest.mark.slow
def test_the_pass_is_measured_on_the_images_of_the_report() -> None:
    images = ["dataset.split.calibration=16", "dataset.split.report=60", "dataset.full_root=null"]
    job = Job.read(find_config("fashion_mnist"), parse_overrides(images))
    (draw,) = measure(job, 1, [2], 37, Stages(SilentProgress()))
    assert (draw.seed, draw.bits) == (1, 2)
    assert draw.passed[0] < draw.table[0]
    assert draw.passed[1] < draw.table[1]
    # Of the first 37 images.
    for values in (draw.table, draw.passed):
        assert 0.37 * values[2] == pytest.approx(round(0.37 * values[2]))
        assert 10 < values[2] < 100


def test_a_draw_is_one_of_the_section_that_is_named() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, bits=[4])
    other = '{"type": "fashion_mnist", "root": "recipes/fashion_mnist/data", "split": {"seed": 0}}'
    for section, rest in (("dataset", "calibration"), ("calibration", "dataset")):
        parsed = parser.parse_args(["fashion_mnist", "--section", section, "--set", f"calibration={other}"])
        values = read_draw(parsed, 7, "compression.weights.equalization=false").config.to_dict()
        assert (values[section]["split"]["seed"], values[rest]["split"]["seed"]) == (7, 0)
        assert values["compression"]["weights"]["equalization"] is False


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["none.json"], ["fashion_mnist", "--draws", "0"]):
        with pytest.raises(SystemExit) as error:
            sequential_gain.main(arguments)
        assert error.value.code == 2
    assert "none.json" in capsys.readouterr().err
