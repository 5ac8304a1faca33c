from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq import NncfMcqError
from openvino_eval.benchmark_app import COUNTERS_FILE, REPORT_FILE, BenchmarkAppResult
from openvino_eval.benchmark_tables import cache_lines, statistics_tables
from openvino_eval.benchmarking import (
    SUMMARY_FILE,
    BenchmarkResult,
    Candidate,
    Turn,
    benchmark,
    count_runs,
    float_layers,
    summarize,
)
from openvino_eval.device_config import read_properties
from openvino_eval.errors import EvaluationError
from openvino_eval.machine import LoadMeter, MachineLoad
from openvino_eval.options import Mode, Precision
from openvino_eval.scenarios import plan


def run(latency: float, throughput: float, **percentiles: float) -> Turn:
    found = BenchmarkAppResult(latency, latency, latency / 2, 2 * latency, throughput, 10, (), compile_ms=10 * latency)
    return Turn(found, {int(name.removeprefix("p")): value for name, value in percentiles.items()})


def test_rounds_reports_and_layers(float_ir: Path, int8_ir: Path, tmp_path: Path) -> None:
    steps = []
    models = {"fp32": Candidate(float_ir), "int8": Candidate(int8_ir)}
    result = benchmark(
        models,
        tmp_path,
        reference="int8",
        modes=[Mode.THROUGHPUT],
        rounds=1,
        seconds=1,
        threads=1,
        progress=lambda: steps.append(1),
    )
    assert len(steps) == 4
    statistics = result.statistics[Mode.THROUGHPUT]
    assert statistics["int8"].ratio == 1.0
    assert statistics["fp32"].ratio == pytest.approx(statistics["fp32"].median / statistics["int8"].median)
    assert [len(float_layers(result.layers[name])) for name in models] == [3, 0]
    convolutions = [item for item in result.layers["int8"] if item.layer.layer_type == "Convolution"]
    assert len(convolutions) == 2
    # Times are rounded to a microsecond.
    assert sum(item.milliseconds for item in result.layers["fp32"]) > 0.0
    assert len(list(tmp_path.rglob(REPORT_FILE))) == 2
    assert len(list(tmp_path.rglob(COUNTERS_FILE))) == 2
    written = json.loads((tmp_path / SUMMARY_FILE).read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(result.to_dict()))
    assert written["throughput"]["fp32"]["rounds"] == [statistics["fp32"].median]


def test_a_ratio_is_taken_within_its_round() -> None:
    # The machine is slower in the second round; within each round "half" takes half as long.
    times = (1.0, 3.0, 1.2)
    runs = {
        "whole": [run(time, 1000 / time) for time in times],
        "half": [run(time / 2, 2000 / time) for time in times],
    }
    latency = summarize(Mode.LATENCY, runs, "whole")["half"]
    assert (latency.ratio_low, latency.ratio, latency.ratio_high) == (0.5, 0.5, 0.5)
    assert (latency.median, latency.best) == (0.6, 0.25)
    assert latency.is_noisy
    throughput = summarize(Mode.THROUGHPUT, runs, "whole")["half"]
    assert (throughput.ratio, throughput.best) == (2.0, 2000.0)


def test_percentiles_and_starts_are_kept() -> None:
    runs = {"model": [run(2.0, 1.0, p95=9.0), run(1.0, 1.0, p95=3.0), run(1.0, 1.0, p95=4.0)]}
    found = summarize(Mode.LATENCY, runs, "model")["model"]
    assert found.percentiles == {95: 4.0}
    assert found.compile_ms == (20.0, 10.0, 10.0)
    result = BenchmarkResult({"latency": {"model": found}}, {}, "model", MachineLoad(0.0, 0.0, 2), {})
    (table,) = statistics_tables(result)
    assert [column.header for column in table.columns][1:5] == ["ms", "quartiles", "p95", "min"]
    assert list(cache_lines(result)) == [
        "model: first start with the cache compiles in 20.00 ms, later ones in 10.00 ms"
    ]


def test_every_batch_size_and_number_of_streams_is_planned() -> None:
    assert [scenario.name for scenario in plan(list(Mode))] == ["latency", "throughput"]
    scenarios = plan(list(Mode), [1, 8], [1, 2], [99, 50, 95])
    assert [scenario.name for scenario in scenarios] == [
        *("latency, batch 1", "latency, batch 8"),
        *("throughput, batch 1, 1 stream", "throughput, batch 1, 2 streams"),
        *("throughput, batch 8, 1 stream", "throughput, batch 8, 2 streams"),
    ]
    assert scenarios[0].percentiles == (95, 99)
    assert count_runs(2, scenarios, 3) == 2 * (3 * (2 * 3 + 4) + 1)
    with pytest.raises(EvaluationError, match="batch size: found 0"):
        plan(list(Mode), [0])
    with pytest.raises(EvaluationError, match="latency percentile: found 100"):
        plan(list(Mode), percentiles=[100])


def test_the_file_of_a_deployment_gives_properties(tmp_path: Path) -> None:
    file = tmp_path / "device.json"
    given = {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}
    file.write_text(json.dumps({"CPU": given, "GPU": {}}), encoding="utf-8")
    assert read_properties(file) == ({"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}, Precision.BF16)
    for wrong, message in (
        ({"CPU": {"NUM_STREAMS": "2"}}, "found NUM_STREAMS, allowed: other properties; --streams sets it"),
        ({"CPU": {"INFERENCE_PRECISION_HINT": "f64"}}, "found INFERENCE_PRECISION_HINT f64, allowed: f32 or bf16"),
        ({"GPU": {}}, "CPU: Field required"),
    ):
        file.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises((EvaluationError, NncfMcqError), match=message):
            read_properties(file)


def test_noise_is_said() -> None:
    steady = summarize(Mode.LATENCY, {"steady": [run(1.0, 1.0)] * 3}, "steady")
    shaky = summarize(Mode.LATENCY, {"shaky": [run(time, 1.0) for time in (1.0, 1.5, 2.0)]}, "shaky")
    quiet, busy = MachineLoad(0.01, 2.0, 2), MachineLoad(0.4, 6.0, 2)
    settings: tuple[dict[str, Any], str] = ({}, "steady")
    assert BenchmarkResult({Mode.LATENCY: steady}, *settings, quiet, {}).warnings() == []
    (warning,) = BenchmarkResult({Mode.LATENCY: steady}, *settings, busy, {}).warnings()
    assert "took 40 %" in warning
    (warning,) = BenchmarkResult({Mode.LATENCY: shaky}, *settings, quiet, {}).warnings()
    assert "apart for shaky" in warning


def test_own_work_is_not_others(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = iter([(100.0, 1000.0), (107.0, 1010.0)])
    own = iter([3.0, 8.0])
    monkeypatch.setattr("openvino_eval.machine._machine_seconds", lambda: next(machine))
    monkeypatch.setattr("openvino_eval.machine._own_seconds", lambda: next(own))
    # Of 10 seconds 7 were busy, 5 of them with this program.
    assert LoadMeter().read().others == pytest.approx(0.2)


def test_what_cannot_be_measured_is_named(float_ir: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no model"):
        benchmark({}, tmp_path)
    with pytest.raises(EvaluationError, match="rounds: found 0"):
        benchmark({"model": Candidate(float_ir)}, tmp_path, rounds=0)
    with pytest.raises(EvaluationError, match=r"no\.xml: no such file"):
        benchmark({"model": Candidate(float_ir), "no": Candidate(tmp_path / "no.xml")}, tmp_path)
