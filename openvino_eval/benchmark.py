"""Several models under OpenVINO's `benchmark_app`, interleaved, and the precision of each of their layers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from nncf_mcq.model import processor_name
from nncf_mcq.utils import write_text_atomically
from openvino_eval.benchmark_app import BenchmarkAppResult, Mode, run_benchmark_app, run_counters
from openvino_eval.errors import EvaluationError
from openvino_eval.layers import RuntimeLayer, runtime_layers
from openvino_eval.machine import NOISY_SPREAD, LoadMeter, MachineLoad
from openvino_eval.runtime import DEFAULT_THREADS, Precision, read_model

SUMMARY_FILE = "benchmark.json"


@dataclass(frozen=True)
class Candidate:
    """A file and what its float layers run in.

    Attributes:
        path: The file of a model.
        precision: What float layers run in.
    """

    path: Path
    precision: Precision = Precision.F32


@dataclass(frozen=True)
class RoundStatistics:
    """Median latency in milliseconds, or inferences a second, of one model over the rounds.

    Attributes:
        median: Over the rounds.
        low: Lower quartile.
        high: Upper quartile.
        best: The shortest latency of all inferences, or the largest throughput of all rounds: least disturbed.
        ratio: To the reference in the same round, median over the rounds; 1 for the reference.
        ratio_low: Lower quartile of it.
        ratio_high: Upper quartile.
        rounds: The value of each round.
    """

    median: float
    low: float
    high: float
    best: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: tuple[float, ...]

    @property
    def is_noisy(self) -> bool:
        """Whether the rounds differ so much that the median says little."""
        return self.high - self.low > NOISY_SPREAD * self.median


@dataclass(frozen=True)
class TimedLayer:
    """A layer of the compiled model and its time.

    Attributes:
        layer: What ran.
        milliseconds: Mean time of one inference; 0 for what is done once, when the model is compiled.
    """

    layer: RuntimeLayer
    milliseconds: float


@dataclass(frozen=True)
class BenchmarkResult:
    """Measurements of several models.

    Attributes:
        statistics: Mode -> model -> its latency or throughput over the rounds.
        layers: Model -> its layers in the order of execution.
        reference: Name of the model that ratios are to.
        load: What else the machine did.
        settings: What was pinned, and the machine.
    """

    statistics: Mapping[Mode, Mapping[str, RoundStatistics]]
    layers: Mapping[str, Sequence[TimedLayer]]
    reference: str
    load: MachineLoad
    settings: Mapping[str, Any]

    def warnings(self) -> list[str]:
        """Why the figures should not be trusted, one sentence each; empty where they may be."""
        found = []
        if self.load.is_noisy:
            found.append(
                f"other programs took {100 * self.load.others:.0f} % of the processor (load {self.load.load:.1f} on "
                f"{self.load.processors}): ratios are more reliable than times, and an idle machine is best for both"
            )
        for mode, rows in self.statistics.items():
            noisy = [name for name, found in rows.items() if found.is_noisy]
            if noisy:
                found.append(
                    f"{mode}: the quartiles of the rounds are more than {100 * NOISY_SPREAD:.0f} % apart for "
                    f"{', '.join(noisy)}: use more rounds, or an idle machine"
                )
        return found

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "settings": dict(self.settings),
            "load": asdict(self.load),
            "warnings": self.warnings(),
            "reference": self.reference,
            **{
                str(mode): {name: asdict(found) for name, found in rows.items()}
                for mode, rows in self.statistics.items()
            },
            "layers": {
                name: [{**asdict(item.layer), "milliseconds": item.milliseconds} for item in rows]
                for name, rows in self.layers.items()
            },
        }


def benchmark(
    models: Mapping[str, Candidate],
    folder: Path,
    *,
    reference: str | None = None,
    modes: Sequence[Mode] = tuple(Mode),
    rounds: int = 5,
    seconds: int = 2,
    threads: int = DEFAULT_THREADS,
    streams: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> BenchmarkResult:
    """Runs `benchmark_app` on every model in turn, several times over.

    What disturbs the machine disturbs all models alike, and the ratio to the reference is taken within a round. The
    order rotates by one each round, so that no model always runs after the same neighbour.

    Args:
        models: Name -> what to measure.
        folder: Where the reports and logs of all runs are kept, and `SUMMARY_FILE`.
        reference: Name of the model that ratios are to; the first by default.
        modes: What to measure.
        rounds: How often each model has its turn, at least 1.
        seconds: Length of a turn, at least 1.
        threads: Inference threads.
        streams: Inferences that run side by side for the throughput; as many as threads by default.
        progress: Called after each run; there are `count_runs` of them.

    Returns:
        Medians, spreads and ratios, and the layers of each model.

    Raises:
        EvaluationError: There is nothing to measure, a number is out of range, or a model cannot be run.
    """
    if not models or not modes:
        raise EvaluationError("no model or no mode to measure")
    if rounds < 1:
        raise EvaluationError(f"rounds: found {rounds}, allowed: 1 or more")
    against = next(iter(models)) if reference is None else reference
    for candidate in models.values():
        # Minutes of runs should not come before a message about the last file.
        read_model(candidate.path)
    meter = LoadMeter()
    names, places = list(models), {name: f"{number:02}-{_slug(name)}" for number, name in enumerate(models, 1)}
    found: dict[Mode, dict[str, list[BenchmarkAppResult]]] = {mode: {name: [] for name in names} for mode in modes}
    for turn, mode in itertools.product(range(rounds), modes):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            found[mode][name].append(
                run_benchmark_app(
                    models[name].path,
                    seconds=seconds,
                    threads=threads,
                    precision=models[name].precision,
                    mode=mode,
                    streams=streams,
                    folder=folder / mode / f"round-{turn + 1:02}" / places[name],
                )
            )
            progress()
    load = meter.read()
    layers = {}
    for name, candidate in models.items():
        times = run_counters(
            candidate.path, threads=threads, precision=candidate.precision, folder=folder / "layers" / places[name]
        )
        described = runtime_layers(candidate.path, threads=threads, precision=candidate.precision)
        layers[name] = [TimedLayer(layer, times.get(layer.name, 0.0)) for layer in described]
        progress()
    result = BenchmarkResult(
        statistics={mode: summarize(mode, runs, against) for mode, runs in found.items()},
        layers=layers,
        reference=against,
        load=load,
        settings={
            "rounds": rounds,
            "seconds": seconds,
            "threads": threads,
            "streams": threads if streams is None else streams,
            "models": {
                name: {"path": str(item.path), "precision": str(item.precision), "folder": places[name]}
                for name, item in models.items()
            },
            "device": processor_name(),
            "openvino": ov.get_version(),
        },
    )
    write_text_atomically(folder / SUMMARY_FILE, json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def count_runs(models: int, modes: int, rounds: int) -> int:
    """How often `benchmark` calls its `progress`.

    Args:
        models: How many.
        modes: How many.
        rounds: Turns of each model in each mode.
    """
    return models * (modes * rounds + 1)


def summarize(
    mode: Mode, runs: Mapping[str, Sequence[BenchmarkAppResult]], reference: str
) -> dict[str, RoundStatistics]:
    """Medians, quartiles and ratios over the rounds.

    Args:
        mode: What counts of a run: its median latency, or its throughput.
        runs: Model -> its run in each round.
        reference: Name of the model that ratios are to.
    """
    is_latency = mode is Mode.LATENCY
    values = {
        name: np.array([run.median_ms if is_latency else run.throughput_fps for run in rows])
        for name, rows in runs.items()
    }
    statistics = {}
    for name, rounds in values.items():
        low, median, high = (float(value) for value in np.percentile(rounds, (25, 50, 75)))
        ratios = np.percentile(rounds / values[reference], (25, 50, 75))
        ratio_low, ratio, ratio_high = (float(value) for value in ratios)
        best = min(run.min_ms for run in runs[name]) if is_latency else float(rounds.max())
        statistics[name] = RoundStatistics(
            median, low, high, best, ratio, ratio_low, ratio_high, tuple(map(float, rounds))
        )
    return statistics


def float_layers(layers: Sequence[TimedLayer]) -> list[TimedLayer]:
    """The convolutions and matrix products that do not run on integers.

    Args:
        layers: Of a model.
    """
    return [item for item in layers if item.layer.is_compute and not item.layer.is_integer]


def _slug(name: str) -> str:
    """A name as a part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
