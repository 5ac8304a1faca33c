"""The benchmark of where the loss comes from, on the embedded network."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import layer_losses
from benchmarks.layer_losses import LayerLoss, Losses
from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job
from nncf_mcq.utils.progress import SilentProgress, Stages


def test_losses_of_the_embedded_network() -> None:
    overrides = {"dataset.full_root": None, "compression.initializer.num_init_samples": 16}
    job = Job.read(find_config("fashion_mnist"), overrides)
    found = layer_losses.measure(job, 2, 64, Stages(SilentProgress()))
    assert found.images == 64
    assert len(found.layers) == 27
    assert set(found.kinds) == {layer.kind for layer in found.layers}
    # At 2 bits all together cost far more than any layer or kind, and anything costs more than 8 bits do.
    assert found.together > max(found.kinds.values()) > max(layer.loss for layer in found.layers) > found.base > 0
    assert layer_losses.draw(found).startswith(b"<?xml")


def test_tables_list_the_costliest_first(capsys: pytest.CaptureFixture[str]) -> None:
    layers = (LayerLoss("cheap", "matmul", (1, 2, 3), 0.1), LayerLoss("dear", "convolution", (1, 4, 5), 0.3))
    losses = Losses(4, 10, 0.01, 0.5, layers, {"convolution": 0.3, "matmul": 0.1})
    for table in layer_losses.tables(losses, 1):
        Console(width=100).print(table)
    printed = capsys.readouterr().out
    assert "0.4000" in printed  # the sum of each alone
    assert "75.0%" in printed
    assert "cheap" not in printed


@pytest.mark.parametrize("arguments", [["none.json"], ["fashion_mnist", "--images", "0"]])
def test_bad_arguments_are_one_line(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        layer_losses.main([*arguments, "--chart", str(tmp_path / "chart.svg")])
    assert error.value.code == 2
    assert not list(tmp_path.iterdir())
