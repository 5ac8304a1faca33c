from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nncf_mcq.job import Job
from tests.commands import write_config


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `quantize` wrote: the small network at 4 bits, calibrated on images of 8x8 pixels."""
    folder = tmp_path_factory.mktemp("quantized")
    correction = {"rounding": "nearest", "sequential": False}
    config = write_config(folder, {"type": "uniform", "bits": 4, "budget": None}, correction=correction)
    data = json.loads(config.read_text())
    del data["compression"]["initializer"]["precision"]["budget"]
    data["compression"]["initializer"]["range"] = "max"
    config.write_text(json.dumps(data))
    Job.read(config).run().save(folder / "out")
    return folder / "out"


def with_dataset(quantized: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a quantized model whose configuration has another data set, or another preprocessing."""
    folder.mkdir(parents=True)
    for file in ("model.xml", "model.bin", "result.json"):
        (folder / file).write_bytes((quantized / file).read_bytes())
    config = json.loads((quantized / "config.json").read_text())
    config["dataset"]["root"] = str(quantized.parent / "images")
    preprocessing = changes.pop("preprocessing", {})
    config["dataset"]["preprocessing"].update(preprocessing)
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def photograph(file: Path, size: tuple[int, int] = (23, 14)) -> Path:
    """An image of width and height that no network has."""
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file
