from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import pytest

from openvino_eval.errors import EvaluationError
from openvino_eval.size import ConstantType, measure_size


def test_constants_are_counted_at_their_true_width(tmp_path: Path) -> None:
    image = ops.parameter([4, 5], np.float32)
    node = image
    # 7 values of 3 bits are 21 bits, which take 3 bytes; each constant is rounded up on its own.
    for values in (np.arange(7), np.arange(7)):
        packed = ops.constant(values.astype(np.uint8) % 8, dtype=ov.Type.u3)
        node = ops.add(node, ops.reduce_sum(ops.convert(packed, "f32"), ops.constant([0]), keep_dims=True))
    offset = ops.constant(np.full((1, 5), 0.5, np.float32))
    path = tmp_path / "model.xml"
    ov.save_model(ov.Model([ops.add(node, offset)], [image], "model"), path, compress_to_fp16=False)

    size = measure_size(path)
    constants = {constant.element_type: constant for constant in size.constants}
    assert constants["u3"] == ConstantType("u3", bits=3, constants=2, elements=14, stored_bytes=6)
    assert constants["f32"] == ConstantType("f32", bits=32, constants=1, elements=5, stored_bytes=20)
    assert size.bin_bytes == path.with_suffix(".bin").stat().st_size
    assert size.xml_bytes == path.stat().st_size
    assert size.total_bytes == size.bin_bytes + size.xml_bytes


def test_int8_moves_the_weights_from_f32_to_i8(float_ir: Path, int8_ir: Path) -> None:
    weights = 8 * 3 * 9 + 16 * 8 * 9 + 16 * 10
    in_float = {constant.element_type: constant for constant in measure_size(float_ir).constants}
    in_int8 = {constant.element_type: constant for constant in measure_size(int8_ir).constants}
    assert in_float["f32"].elements == weights
    assert "i8" not in in_float
    assert in_int8["i8"].stored_bytes == weights
    assert in_int8["f32"].elements < weights


def test_the_largest_type_comes_first(float_ir: Path) -> None:
    stored = [constant.stored_bytes for constant in measure_size(float_ir).constants]
    assert stored == sorted(stored, reverse=True)


def test_only_an_ir_has_two_files(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"model\.onnx: not an OpenVINO IR.*: ovc .*model\.onnx --compress"):
        measure_size(tmp_path / "model.onnx")
