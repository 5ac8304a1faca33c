from __future__ import annotations

import json
from pathlib import Path

import openvino as ov
import pytest
from openvino.preprocess import PrePostProcessor

from openvino_eval.benchmark_app import (
    LOG_FILE,
    REPORT_FILE,
    input_type,
    parse_counters,
    parse_report,
    refine,
    run_benchmark_app,
)
from openvino_eval.errors import EvaluationError
from openvino_eval.options import Mode

REPORT = {
    "execution_results": {
        "total number of iterations": "120",
        "latency (ms)": "1.25",
        "avg latency": "1.50",
        "min latency": "1.00",
        "max latency": "9.75",
        "throughput": "640.50",
    }
}


def test_it_runs_with_the_pinned_properties(int8_ir: Path, tmp_path: Path) -> None:
    result = run_benchmark_app(int8_ir, seconds=1, threads=1, folder=tmp_path)
    assert result.iterations > 100
    assert result.throughput_fps > 100
    assert 0.0 < result.min_ms <= result.median_ms <= result.max_ms
    flags = dict(zip(result.command, result.command[1:], strict=False))
    assert flags["-ip"] == flags["-infer_precision"] == "f32"
    assert flags["-nthreads"] == flags["-nstreams"] == "1"
    log = (tmp_path / LOG_FILE).read_text(encoding="utf-8")
    # What the plugin says that it does, whatever the flags are called.
    for line in ("INFERENCE_NUM_THREADS: 1", "NUM_STREAMS: 1", "'float32'", "DYNAMIC_QUANTIZATION_GROUP_SIZE: 32"):
        assert line in log
    assert (tmp_path / REPORT_FILE).is_file()


def test_batches_percentiles_a_cache_and_properties_reach_it(int8_ir: Path, tmp_path: Path) -> None:
    result = run_benchmark_app(
        int8_ir,
        seconds=1,
        threads=1,
        batch_size=4,
        percentile=95,
        cache=tmp_path / "cache",
        properties={"ENABLE_CPU_PINNING": "NO"},
        folder=tmp_path / "reports",
    )
    assert result.min_ms < result.median_ms <= result.max_ms
    assert result.compile_ms is not None
    # Samples, not inferences, are counted.
    assert result.throughput_fps > 2 / (result.average_ms / 1000)
    assert list((tmp_path / "cache").glob("*.blob"))
    log = (tmp_path / "reports" / LOG_FILE).read_text(encoding="utf-8")
    for line in (
        "95 percentile",
        "Model batch size: 4",
        "ENABLE_CPU_PINNING: False",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE: 32",
    ):
        assert line in log


def test_a_model_of_8_bit_images_is_fed_with_them(float_ir: Path, tmp_path: Path) -> None:
    processor = PrePostProcessor(ov.Core().read_model(float_ir))
    processor.input(0).tensor().set_element_type(ov.Type.u8)
    path = tmp_path / "images.xml"
    ov.save_model(processor.build(), path, compress_to_fp16=False)
    assert (input_type(float_ir), input_type(path)) == ("f32", "u8")
    assert run_benchmark_app(path, seconds=1, threads=1).iterations > 100


def test_a_failure_says_why(tmp_path: Path) -> None:
    path = tmp_path / "broken.xml"
    path.write_text("<not a model>", encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"broken\.xml: benchmark_app failed: \w+") as caught:
        run_benchmark_app(path, seconds=1)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_strings_become_numbers(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_report.json"
    path.write_text(json.dumps(REPORT), encoding="utf-8")
    result = parse_report(path)
    assert (result.median_ms, result.average_ms, result.min_ms, result.max_ms) == (1.25, 1.5, 1.0, 9.75)
    assert (result.throughput_fps, result.iterations) == (640.5, 120)


def test_short_latencies_come_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_report.json"
    path.write_text(json.dumps(REPORT), encoding="utf-8")
    log = "".join(
        f"[ INFO ]    {name}: {value:>12} us\n"
        for name, value in zip(("Median", "Average", "Min", "Max"), (321.75, 330.5, 300.25, 900), strict=True)
    )
    result = refine(parse_report(path), log)
    assert (result.median_ms, result.average_ms, result.min_ms, result.max_ms) == (0.32175, 0.3305, 0.30025, 0.9)
    assert refine(parse_report(path), log.replace("us", "ms")).median_ms == 1.25
    assert refine(parse_report(path), log.replace("Median", "95 percentile")).median_ms == 0.32175


def test_counters_of_layers_that_ran(tmp_path: Path) -> None:
    path = tmp_path / "counters.csv"
    path.write_text(
        "layerName;execStatus;layerType;execType;realTime (ms);cpuTime (ms)\n"
        "a;b;Status.EXECUTED;Convolution;brgconv_avx512_I8;0.134;0.134\n"
        "fused;Status.NOT_RUN;FakeQuantize;undef;0.000;0.000\n"
        "Total;;;;0.134;0.134\n\n",
        encoding="utf-8",
    )
    assert parse_counters(path) == {"a;b": 0.134}
    path.write_text("layerName\nno counters\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="not the counters of benchmark_app"):
        parse_counters(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not a report of benchmark_app"),
        ("[]", "not a report of benchmark_app"),
        ("no JSON", "not a report of benchmark_app"),
        (json.dumps(REPORT).replace("120", "0"), "measured nothing"),
        (json.dumps(REPORT).replace("1.25", "nan"), "measured nothing"),
        (None, "wrote no report"),
    ],
)
def test_an_unusable_report_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "benchmark_report.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message):
        parse_report(path)


def test_bad_arguments_are_named(float_ir: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="seconds: found 0"):
        run_benchmark_app(float_ir, seconds=0)
    with pytest.raises(EvaluationError, match="streams: found 3, allowed: 1 to 2"):
        run_benchmark_app(float_ir, mode=Mode.THROUGHPUT, threads=2, streams=3)
    with pytest.raises(EvaluationError, match="no such file"):
        run_benchmark_app(tmp_path / "no.xml")
