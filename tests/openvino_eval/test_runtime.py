from __future__ import annotations

from pathlib import Path

import pytest

from nncf_mcq.utils import last_line
from openvino_eval.errors import EvaluationError
from openvino_eval.options import Precision
from openvino_eval.runtime import read_and_compile, read_model


def test_what_changes_the_figures_is_pinned(float_ir: Path) -> None:
    compiled = read_and_compile(float_ir, threads=1)
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 32
    assert str(compiled.get_property("PERFORMANCE_HINT")) in {"LATENCY", "PerformanceMode.LATENCY"}
    assert compiled.get_property("NUM_STREAMS") == 1


def test_threads_must_be_positive(float_ir: Path) -> None:
    with pytest.raises(EvaluationError, match="threads: found 0, allowed: 1 or more"):
        read_and_compile(float_ir, threads=0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no\.xml: no such file"):
        read_model(tmp_path / "no.xml")


def test_missing_weights_are_named(float_ir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.xml"
    copy.write_bytes(float_ir.read_bytes())
    with pytest.raises(EvaluationError, match=r"its weights model\.bin are missing"):
        read_model(copy)


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_text("<not a model>", encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"model\.xml: OpenVINO cannot read it: .") as caught:
        read_and_compile(path, precision=Precision.BF16)
    assert "\n" not in str(caught.value)


def test_the_last_line_says_what_is_wrong() -> None:
    assert last_line(RuntimeError("Exception from core.cpp:84:\n  Check failed:\n it is broken \n\n")) == "it is broken"
    assert last_line(RuntimeError()) == "RuntimeError"
