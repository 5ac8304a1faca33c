"""OpenVINO's own `benchmark_app`, so that a figure here can be held against published ones."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nncf_mcq.model import compile_properties
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Mode, Precision
from openvino_eval.runtime import check_threads, read_model

# The wheel's console script, called through this interpreter: the script may not be on the PATH.
_ENTRY_POINT = "import sys; from openvino.tools.benchmark.main import main; sys.exit(main())"
_START_UP_SECONDS = 600.0

REPORT_FILE, COUNTERS_FILE, LOG_FILE = "benchmark_report.json", "benchmark_average_counters_report.csv", "log.txt"

# Latencies below a millisecond are in the log with three digits more than in the report.
_MICROSECONDS = re.compile(r"(Median|Average|Min|Max|[0-9]+ percentile):\s+([0-9.]+) us$", re.MULTILINE)

_MEDIAN = 50


@dataclass(frozen=True)
class BenchmarkAppResult:
    """Result of `benchmark_app`; latencies in milliseconds.

    Attributes:
        median_ms: Median latency, or the percentile that was asked for.
        average_ms: Mean latency.
        min_ms: Shortest latency.
        max_ms: Longest latency.
        throughput_fps: Inferences a second (times the batch).
        iterations: Inferences.
        command: The flags it ran with.
        compile_ms: Time to compile the model, or to take it from a cache; None where the report does not tell.
    """

    median_ms: float
    average_ms: float
    min_ms: float
    max_ms: float
    throughput_fps: float
    iterations: int
    command: tuple[str, ...]
    compile_ms: float | None = None


def run_benchmark_app(
    model: Path,
    *,
    seconds: int = 10,
    threads: int = DEFAULT_THREADS,
    precision: Precision = Precision.F32,
    mode: Mode = Mode.LATENCY,
    streams: int | None = None,
    batch_size: int | None = None,
    percentile: int = _MEDIAN,
    cache: Path | None = None,
    properties: Mapping[str, object] | None = None,
    folder: Path | None = None,
) -> BenchmarkAppResult:
    """Run `benchmark_app` on a model with random input.

    Threads, streams and requests are given explicitly rather than by a performance hint, which may choose others on
    another machine.

    Args:
        model: The file of a model.
        seconds: How long to measure, at least 1.
        threads: Inference threads.
        precision: What float layers run in.
        mode: One inference at a time, or `streams` of them.
        streams: Inferences that run side by side for the throughput; as many as threads by default.
        batch_size: Samples of an inference; the model's own by default.
        percentile: Of the latencies, in the place of their median, 1 to 99.
        cache: Folder of compiled models, in which OpenVINO finds the model again.
        properties: Further properties of the CPU, which replace the pinned ones.
        folder: Where its report and its log are kept; made if it is missing. By default they are not.

    Returns:
        Its figures.

    Raises:
        EvaluationError: The model is missing, a number is out of range, or `benchmark_app` fails.
    """
    parallel = 1 if mode is Mode.LATENCY else threads if streams is None else streams
    if not 1 <= parallel <= max(threads, 1):
        raise EvaluationError(f"streams: found {parallel}, allowed: 1 to {threads}, the number of threads")
    with _folder(folder) as reports:
        flags = (
            *("-api", "sync" if mode is Mode.LATENCY else "async"),
            *("-nstreams", str(parallel), "-nireq", str(parallel), "-report_type", "no_counters", "-json_stats"),
            *(() if batch_size is None else ("-b", str(batch_size))),
            *(() if percentile == _MEDIAN else ("-latency_percentile", str(percentile))),
            *(() if cache is None else ("-cdir", str(cache))),
        )
        command, log = _run(model, seconds, threads, precision, flags, reports, properties or {})
        return refine(parse_report(reports / REPORT_FILE, command, percentile), log)


def run_counters(
    model: Path,
    *,
    seconds: int = 1,
    threads: int = DEFAULT_THREADS,
    precision: Precision = Precision.F32,
    properties: Mapping[str, object] | None = None,
    folder: Path | None = None,
) -> dict[str, float]:
    """Let `benchmark_app` time every layer of a model, one inference at a time.

    Args:
        model: The file of a model.
        seconds: How long to measure, at least 1.
        threads: Inference threads.
        precision: What float layers run in.
        properties: As for `run_benchmark_app`.
        folder: Where the counters and its log are kept; made if it is missing. By default they are not.

    Returns:
        The plugin's name of each layer that was executed -> its mean time in milliseconds.

    Raises:
        EvaluationError: The model is missing, a number is out of range, or `benchmark_app` fails.
    """
    with _folder(folder) as reports:
        # As CSV: the JSON report has the counters of the first layer only.
        flags = ("-api", "sync", "-nstreams", "1", "-nireq", "1", "-report_type", "average_counters")
        _run(model, seconds, threads, precision, flags, reports, properties or {})
        return parse_counters(reports / COUNTERS_FILE)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """The given folder, or one that goes away."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="openvino-eval-") as temporary:
        yield Path(temporary)


def _run(
    model: Path,
    seconds: int,
    threads: int,
    precision: Precision,
    own_flags: Sequence[str],
    reports: Path,
    properties: Mapping[str, object],
) -> tuple[tuple[str, ...], str]:
    """Runs it with the pinned properties; returns its flags and what it printed."""
    if not model.is_file():
        raise EvaluationError(f"{model}: no such file")
    if seconds < 1:
        raise EvaluationError(f"seconds: found {seconds}, allowed: 1 or more")
    pinned = compile_properties(check_threads(threads), precision.value)
    # There is no flag for it.
    dynamic = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": str(pinned["DYNAMIC_QUANTIZATION_GROUP_SIZE"])}
    device_config = reports / "device.json"
    device_config.write_text(json.dumps({"CPU": {**dynamic, **properties}}), encoding="utf-8")
    flags = (
        *("-m", str(model), "-d", "CPU", "-t", str(seconds), "-hint", "none", "-nthreads", str(threads)),
        # Without -ip an image input is turned into u8, which adds a conversion to the model.
        *("-ip", input_type(model), "-infer_precision", str(precision)),
        *("-report_folder", str(reports), "-load_config", str(device_config)),
        *own_flags,
    )
    try:
        completed = subprocess.run(
            [sys.executable, "-c", _ENTRY_POINT, *flags],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _START_UP_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise EvaluationError(f"{model}: benchmark_app did not end in {error.timeout:.0f} s") from error
    log = completed.stdout + completed.stderr
    (reports / LOG_FILE).write_text(log, encoding="utf-8")
    if completed.returncode != 0:
        raise EvaluationError(f"{model}: benchmark_app failed: {_reason(log)}")
    return flags, log


def input_type(model: Path) -> str:
    """What a model is fed with: u8 where all of its inputs are images of that type, otherwise f32.

    Args:
        model: The file of a model; one that cannot be read is left to `benchmark_app` to complain about.
    """
    try:
        found = {port.get_element_type().get_type_name() for port in read_model(model).inputs}
    except EvaluationError:
        return "f32"
    return "u8" if found == {"u8"} else "f32"


def parse_report(path: Path, command: tuple[str, ...] = (), percentile: int = _MEDIAN) -> BenchmarkAppResult:
    """Read a `benchmark_report.json`.

    Args:
        path: The file; its values are strings.
        command: The flags that produced it.
        percentile: Of the latencies that it was asked for.

    Returns:
        Its figures; latencies are rounded to 0.01 ms there.

    Raises:
        EvaluationError: The file is missing or is not such a report.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["execution_results"]
        latency = "latency (ms)" if percentile == _MEDIAN else f"latency ({percentile} percentile) (ms)"
        compile_ms = results.get("compile model time (ms)")
        parsed = BenchmarkAppResult(
            median_ms=float(results[latency]),
            average_ms=float(results["avg latency"]),
            min_ms=float(results["min latency"]),
            max_ms=float(results["max latency"]),
            throughput_fps=float(results["throughput"]),
            iterations=int(results["total number of iterations"]),
            command=command,
            compile_ms=None if compile_ms is None else float(compile_ms),
        )
    except OSError as error:
        raise EvaluationError(f"{path}: benchmark_app wrote no report") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path}: not a report of benchmark_app ({error!r})") from error
    if not math.isfinite(parsed.median_ms) or parsed.iterations < 1:
        raise EvaluationError(f"{path}: benchmark_app measured nothing")
    return parsed


def refine(result: BenchmarkAppResult, log: str) -> BenchmarkAppResult:
    """Take latencies below a millisecond from the log, which has them in microseconds.

    Args:
        result: From the report, rounded to 0.01 ms.
        log: What `benchmark_app` printed.

    Returns:
        The result with all digits there are.
    """
    found = {name: float(value) / 1e3 for name, value in _MICROSECONDS.findall(log)}
    middle = [value for name, value in found.items() if name not in ("Average", "Min", "Max")]
    if len(found) != 4 or len(middle) != 1:
        return result
    return replace(result, median_ms=middle[0], average_ms=found["Average"], min_ms=found["Min"], max_ms=found["Max"])


def parse_counters(path: Path) -> dict[str, float]:
    """Read a `benchmark_average_counters_report.csv`.

    Args:
        path: The file.

    Returns:
        The plugin's name of each layer that was executed -> its mean time in milliseconds.

    Raises:
        EvaluationError: The file is missing or is not such a report.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise EvaluationError(f"{path}: benchmark_app wrote no counters") from error
    found: dict[str, float] = {}
    try:
        for line in lines[1:]:
            # From the right: the name comes first, and may hold anything.
            name, status, _, _, real_time, _ = line.rsplit(";", 5) if line else ("", "", "", "", "0", "")
            if status == "Status.EXECUTED":
                found[name] = float(real_time)
    except ValueError as error:
        raise EvaluationError(f"{path}: not the counters of benchmark_app ({error})") from error
    return found


def _reason(log: str) -> str:
    """The most telling line of a failed run: the last of the block that its logger marks as an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("[ ERROR ]"):
            block = [line.removeprefix("[ ERROR ]").strip()]
            for following in lines[index + 1 :]:
                if following.startswith(("[", "Traceback")):
                    break
                block.append(following)
            return block[-1]
    return lines[-1] if lines else "it said nothing"
