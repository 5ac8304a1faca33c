"""A configuration small enough that a search takes a second: three layers of 2, 4 or 8 bits."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from openvino_eval.contest.record import RunRecord
from tests.models import convolution, make_model, random_constant

SHAPE = (1, 1, 12, 12)
ILP_PASSES = 1 + 3 * 2
"""Policies that are scored for the sensitivities of the ILP: both lower widths of each layer."""
WARM_START_PASSES = 1 + 3 * 2
"""The same for a warm start, which scores the two lowest bit-widths by default."""
EVALUATIONS = 10


def write_config(folder: Path) -> Path:
    """A model, images with labels, and the configuration that names them."""

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(8, 1, 3, 3), "first", pad=1, stride=2))
        values = opset.relu(convolution(values, random_constant(8, 8, 1, 1, seed=1), "second"))
        pooled = opset.reduce_mean(values, opset.constant(np.array([2, 3])), keep_dims=False)
        return opset.matmul(pooled, random_constant(8, 6, seed=2), False, False, name="last")

    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(make_model(build, SHAPE), folder / "float.xml", compress_to_fp16=False)
    generator = np.random.default_rng(0)
    for subset, count in (("train", 40), ("t10k", 30)):
        _write_idx(folder / f"{subset}-images-idx3-ubyte.gz", generator.integers(0, 256, (count, 12, 12)))
        _write_idx(folder / f"{subset}-labels-idx1-ubyte.gz", generator.integers(0, 6, count))
    config = {
        "model": "float.xml",
        "dataset": {"type": "fashion_mnist", "root": ".", "split": {"calibration": 16, "search": 16}},
        "metric": "top1",
        "compression": {
            "weights": {"bits": [2, 4, 8]},
            "correction": {"rounding": "nearest", "sequential": False},
            "initializer": {
                "num_init_samples": 16,
                "range": {"type": "max"},
                "precision": {"type": "ilp", "budget": {"weight_size": {"average_bits": 4.5}}},
            },
        },
        "runtime": {"threads": 1},
    }
    file = folder / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def load_records(output: Path) -> dict[str, RunRecord]:
    """The finished runs by the names of their files."""
    return {path.stem: RunRecord.model_validate_json(path.read_bytes()) for path in (output / "runs").glob("*.json")}


def load_comparison(output: Path) -> dict[str, Any]:
    """What comparison.json holds; NaN and infinity, which other readers refuse, are errors."""
    text = (output / "comparison.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=lambda name: 1 / 0)
    return found


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))
