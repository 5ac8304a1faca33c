"""OpenVINO's own `benchmark_app`, so that a latency here can be held against published ones."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from openvino_eval.errors import EvaluationError
from openvino_eval.runtime import DEFAULT_THREADS, Precision, properties

# The wheel's console script, called through this interpreter: the script may not be on the PATH.
_ENTRY_POINT = "import sys; from openvino.tools.benchmark.main import main; sys.exit(main())"
_START_UP_SECONDS = 600.0


@dataclass(frozen=True)
class BenchmarkAppResult:
    """What `benchmark_app` reports; latencies in milliseconds, which it rounds to 0.01.

    Attributes:
        median_ms: Median latency.
        average_ms: Mean latency.
        min_ms: Shortest latency.
        max_ms: Longest latency.
        throughput_fps: Inferences a second (times the batch).
        iterations: Inferences.
        command: The flags it ran with.
    """

    median_ms: float
    average_ms: float
    min_ms: float
    max_ms: float
    throughput_fps: float
    iterations: int
    command: tuple[str, ...]


def run_benchmark_app(
    model: Path,
    *,
    seconds: int = 10,
    threads: int = DEFAULT_THREADS,
    precision: Precision = Precision.F32,
) -> BenchmarkAppResult:
    """Run `benchmark_app` on a model with random input.

    Args:
        model: The file of a model.
        seconds: How long to measure, at least 1.
        threads: Inference threads.
        precision: What float layers run in.

    Returns:
        Its figures.

    Raises:
        EvaluationError: The model is missing, `seconds` is below 1, or `benchmark_app` fails.
    """
    if not model.is_file():
        raise EvaluationError(f"{model}: no such file")
    if seconds < 1:
        raise EvaluationError(f"seconds: found {seconds}, allowed: 1 or more")
    pinned = {key: str(value) for key, value in properties(threads, precision).items()}
    with tempfile.TemporaryDirectory(prefix="openvino-eval-") as folder:
        # benchmark_app refuses -nthreads beside -hint, but takes the property from a file.
        device_config = Path(folder) / "device.json"
        device_config.write_text(json.dumps({"CPU": pinned}), encoding="utf-8")
        flags = (
            *("-m", str(model), "-d", "CPU", "-hint", "latency", "-t", str(seconds)),
            # Without -ip an image input is turned into u8, which adds a conversion to the model.
            *("-ip", "f32", "-infer_precision", str(precision)),
            *("-report_type", "no_counters", "-json_stats", "-report_folder", folder),
            *("-load_config", str(device_config)),
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
        if completed.returncode != 0:
            raise EvaluationError(f"{model}: benchmark_app failed: {_reason(completed.stdout + completed.stderr)}")
        return parse_report(Path(folder) / "benchmark_report.json", flags)


def parse_report(path: Path, command: tuple[str, ...] = ()) -> BenchmarkAppResult:
    """Read a `benchmark_report.json`.

    Args:
        path: The file; its values are strings.
        command: The flags that produced it.

    Returns:
        Its figures.

    Raises:
        EvaluationError: The file is missing or is not such a report.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["execution_results"]
        parsed = BenchmarkAppResult(
            median_ms=float(results["latency (ms)"]),
            average_ms=float(results["avg latency"]),
            min_ms=float(results["min latency"]),
            max_ms=float(results["max latency"]),
            throughput_fps=float(results["throughput"]),
            iterations=int(results["total number of iterations"]),
            command=command,
        )
    except OSError as error:
        raise EvaluationError(f"{path}: benchmark_app wrote no report") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path}: not a report of benchmark_app ({error!r})") from error
    if not math.isfinite(parsed.median_ms) or parsed.iterations < 1:
        raise EvaluationError(f"{path}: benchmark_app measured nothing")
    return parsed


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
