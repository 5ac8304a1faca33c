from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import pytest

from openvino_eval.errors import EvaluationError
from openvino_eval.latency import _summarize, measure_latency
from tests.openvino_eval.models import small_network


def chain(path: Path, products: int) -> Path:
    """A model of so many products with a 512 x 512 matrix."""
    matrix = np.eye(512, dtype=np.float32) + np.float32(0.001)
    node = image = ops.parameter([64, 512], np.float32)
    for _ in range(products):
        node = ops.relu(ops.matmul(node, ops.constant(matrix), False, False))
    ov.save_model(ov.Model([node], [image], "chain"), path, compress_to_fp16=False)
    return path


def test_four_times_the_work_takes_longer(tmp_path: Path) -> None:
    models = {"short": chain(tmp_path / "short.xml", 2), "long": chain(tmp_path / "long.xml", 16)}
    results = measure_latency(models, rounds=5, seconds=0.05)
    assert list(results) == ["short", "long"]
    short, long = results["short"], results["long"]
    assert (short.ratio, short.ratio_low, short.ratio_high) == (1.0, 1.0, 1.0)
    assert long.ratio > 2.0
    assert long.ratio_low <= long.ratio <= long.ratio_high
    for result in results.values():
        assert 0.0 < result.p10_ms <= result.median_ms
        assert result.rounds == 5
        assert result.inferences >= 5


def test_the_same_model_under_two_names_takes_the_same_time(tmp_path: Path) -> None:
    path = chain(tmp_path / "model.xml", 4)
    result = measure_latency({"first": path, "second": path}, rounds=9, seconds=0.03)["second"]
    assert 0.5 < result.ratio < 2.0


def test_a_ratio_is_taken_within_its_round() -> None:
    # The machine is three times slower in the second round; within each round this model takes twice as long.
    baseline = [np.array([1.0, 1.0]), np.array([3.0]), np.array([1.0, 1.0, 1.0])]
    result = _summarize([2 * turn for turn in baseline], baseline)
    assert (result.ratio_low, result.ratio, result.ratio_high) == (2.0, 2.0, 2.0)
    assert result.median_ms == 2.0
    assert result.inferences == 6


def test_a_dynamic_shape_needs_an_input(tmp_path: Path, images: np.ndarray) -> None:
    path = tmp_path / "dynamic.xml"
    ov.save_model(small_network(None), path, compress_to_fp16=False)
    with pytest.raises(EvaluationError, match=r"model: input shape .* is dynamic"):
        measure_latency({"model": path}, rounds=1, seconds=0.001)
    assert measure_latency({"model": path}, rounds=1, seconds=0.001, inputs={"model": images})["model"].inferences >= 1


def test_an_input_that_does_not_fit_is_named(float_ir: Path, images: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match=r"the given input is \[21, 3, 12, 12\], the model takes \[1,3,12,12\]"):
        measure_latency({"model": float_ir}, inputs={"model": images})


@pytest.mark.parametrize(("rounds", "seconds"), [(0, 0.1), (1, 0.0)])
def test_impossible_rounds_are_named(float_ir: Path, rounds: int, seconds: float) -> None:
    with pytest.raises(EvaluationError, match="allowed: 1 or more rounds"):
        measure_latency({"model": float_ir}, rounds=rounds, seconds=seconds)


def test_no_model_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="no model"):
        measure_latency({})
