"""The benchmark of the sequential pass over draws: what it measures, and what it prints of known draws."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from benchmarks import sequential_gain
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
    # Draws differ by 1, what the pass changes by nothing: that is the error of the mean.
    assert "80 -> 82.5 ± 0.5" in shown
    assert "1.2 -> 1.1" in shown


@pytest.mark.slow
def test_the_pass_is_measured_on_the_images_of_the_report() -> None:
    images = ["dataset.split.calibration=16", "dataset.split.report=40", "dataset.full_root=null"]
    job = Job.read(find_config("fashion_mnist"), parse_overrides(images))
    (draw,) = measure(job, 1, [2], 40, Stages(SilentProgress()))
    assert (draw.seed, draw.bits) == (1, 2)
    assert draw.passed[0] < draw.table[0]
    assert draw.passed[1] < draw.table[1]
    # Of 40 images.
    for values in (draw.table, draw.passed):
        assert (values[2] / 2.5) == pytest.approx(round(values[2] / 2.5))
        assert 10 < values[2] <= 100


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["none.json"], ["fashion_mnist", "--draws", "0"]):
        with pytest.raises(SystemExit) as error:
            sequential_gain.main(arguments)
        assert error.value.code == 2
    assert "none.json" in capsys.readouterr().err
