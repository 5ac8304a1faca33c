"""The main job on a real ImageNet network and real images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job


@pytest.mark.slow
def test_four_bits_on_average_keep_the_answers(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the packages of the extra efficientnet-lite")
    if not (shared_data / "imagenet").is_dir():
        pytest.skip(f"needs the images in {shared_data / 'imagenet'}")
    overrides = {"dataset.root": str(shared_data / "imagenet")}
    Job.read(find_config("efficientnet_lite0"), overrides).run().save(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    quantized, float_metrics = result["metrics"]["quantized"], result["metrics"]["float"]
    assert quantized["average_weight_bits"] <= 4
    assert float_metrics["top1"] - quantized["top1"] <= 0.015
    assert quantized["agreement"] >= 0.94
    assert {layer["runtime_precision"] for layer in result["layers"]} <= {"i8", "u8"}
    channels = sum(
        layer["weight_shape"][0] * (layer["weight_shape"][1] if "depthwise" in layer["kind"] else 1)
        for layer in result["layers"]
    )
    expected = sum(layer["weights"] * layer["bits"] / 8 for layer in result["layers"]) + 8 * channels
    assert quantized["bin_bytes"] == pytest.approx(expected, rel=0.05)
