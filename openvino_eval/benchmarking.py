"""Several models under OpenVINO's `benchmark_app`, interleaved, and the precision of each of their layers."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from nncf_mcq.model import processor_name
from nncf_mcq.utils import write_text_atomically
from openvino_eval.benchmark_app import BenchmarkAppResult, input_type, run_benchmark_app, run_counters
from openvino_eval.errors import EvaluationError
from openvino_eval.layers import RuntimeLayer, runtime_layers
from openvino_eval.machine import LoadMeter, MachineLoad, is_spread, spread_warnings
from openvino_eval.options import DEFAULT_THREADS, Mode, Precision
from openvino_eval.runtime import read_model
from openvino_eval.scenarios import Scenario, plan

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
        percentiles: Percentile -> the latency, median over the rounds.
        compile_ms: Time to compile the model in each round, or to take it from a cache.
    """

    median: float
    low: float
    high: float
    best: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: tuple[float, ...]
    percentiles: Mapping[int, float] = field(default_factory=dict)
    compile_ms: tuple[float, ...] = ()

    @property
    def is_noisy(self) -> bool:
        """Whether the rounds differ so much that the median says little."""
        return is_spread(self.low, self.median, self.high)


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
        statistics: Name of a scenario, that of the mode alone where there is one of it -> model -> its latency or
            throughput over the rounds.
        layers: Model -> its layers in the order of execution.
        reference: Name of the model that ratios are to.
        load: What else the machine did.
        settings: What was pinned, and the machine.
    """

    statistics: Mapping[str, Mapping[str, RoundStatistics]]
    layers: Mapping[str, Sequence[TimedLayer]]
    reference: str
    load: MachineLoad
    settings: Mapping[str, Any]

    def warnings(self) -> list[str]:
        """Why the figures should not be trusted, one sentence each; empty where they may be."""
        found = self.load.warnings()
        for mode, rows in self.statistics.items():
            quartiles = {name: (item.low, item.median, item.high) for name, item in rows.items()}
            found += spread_warnings(quartiles, str(mode))
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
    streams: int | Sequence[int] | None = None,
    batch_sizes: Sequence[int] = (),
    percentiles: Sequence[int] = (),
    cache: Path | None = None,
    properties: Mapping[str, object] | None = None,
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
        streams: Inferences that run side by side for the throughput, or several such numbers; as many as threads by
            default.
        batch_sizes: Samples of an inference; the models' own by default.
        percentiles: Of the latency, besides its median; each takes a run of its own in every round.
        cache: Folder of compiled models: the first round compiles, later ones read.
        properties: Further properties of the CPU, which replace the pinned ones.
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
    counts = () if streams is None else (streams,) if isinstance(streams, int) else tuple(streams)
    scenarios = plan(modes, batch_sizes, counts, percentiles)
    for candidate in models.values():
        # Minutes of runs should not come before a message about the last file.
        read_model(candidate.path)
    meter = LoadMeter()
    names, places = list(models), {name: f"{number:02}-{_slug(name)}" for number, name in enumerate(models, 1)}
    found: dict[str, dict[str, list[Turn]]] = {scenario.name: {name: [] for name in names} for scenario in scenarios}
    for turn, scenario in itertools.product(range(rounds), scenarios):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            run = functools.partial(
                run_benchmark_app,
                models[name].path,
                seconds=seconds,
                threads=threads,
                precision=models[name].precision,
                mode=scenario.mode,
                streams=scenario.streams,
                batch_size=scenario.batch_size,
                cache=cache,
                properties=properties,
            )
            place = folder / _slug(scenario.name) / f"round-{turn + 1:02}" / places[name]
            taken = Turn(run(folder=place))
            progress()
            for percentile in scenario.percentiles:
                beside = place.with_name(f"{place.name}-percentile-{percentile}")
                taken.percentiles[percentile] = run(percentile=percentile, folder=beside).median_ms
                progress()
            found[scenario.name][name].append(taken)
    load = meter.read()
    layers = {}
    for name, candidate in models.items():
        times = run_counters(
            candidate.path,
            threads=threads,
            precision=candidate.precision,
            properties=properties,
            folder=folder / "layers" / places[name],
        )
        described = runtime_layers(
            candidate.path, threads=threads, precision=candidate.precision, properties=properties
        )
        layers[name] = [TimedLayer(layer, times.get(layer.name, 0.0)) for layer in described]
        progress()
    result = BenchmarkResult(
        statistics={scenario.name: summarize(scenario.mode, found[scenario.name], against) for scenario in scenarios},
        layers=layers,
        reference=against,
        load=load,
        settings={
            "rounds": rounds,
            "seconds": seconds,
            "threads": threads,
            "streams": threads if not counts else counts[0] if len(counts) == 1 else list(counts),
            **({"batch_sizes": list(batch_sizes)} if batch_sizes else {}),
            **({"percentiles": list(percentiles)} if percentiles else {}),
            **({} if cache is None else {"cache": str(cache)}),
            **({"properties": dict(properties)} if properties else {}),
            "models": {
                name: {
                    "path": str(item.path),
                    "precision": str(item.precision),
                    "input": input_type(item.path),
                    "folder": places[name],
                }
                for name, item in models.items()
            },
            "device": processor_name(),
            "openvino": ov.get_version(),
        },
    )
    write_text_atomically(folder / SUMMARY_FILE, json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def count_runs(models: int, scenarios: Sequence[Scenario], rounds: int) -> int:
    """How often `benchmark` calls its `progress`.

    Args:
        models: How many.
        scenarios: What is measured, see `plan`.
        rounds: Turns of each model in each of them.
    """
    return models * (rounds * sum(scenario.runs for scenario in scenarios) + 1)


@dataclass(frozen=True)
class Turn:
    """A model in one round.

    Attributes:
        run: Of `benchmark_app`.
        percentiles: Percentile -> the latency in a run of its own.
    """

    run: BenchmarkAppResult
    percentiles: dict[int, float] = field(default_factory=dict)


def summarize(mode: Mode, runs: Mapping[str, Sequence[Turn]], reference: str) -> dict[str, RoundStatistics]:
    """Medians, quartiles and ratios over the rounds.

    Args:
        mode: What counts of a run: its median latency, or its throughput.
        runs: Model -> its turn in each round.
        reference: Name of the model that ratios are to.
    """
    is_latency = mode is Mode.LATENCY
    values = {
        name: np.array([turn.run.median_ms if is_latency else turn.run.throughput_fps for turn in rows])
        for name, rows in runs.items()
    }
    statistics = {}
    for name, rounds in values.items():
        low, median, high = (float(value) for value in np.percentile(rounds, (25, 50, 75)))
        ratios = np.percentile(rounds / values[reference], (25, 50, 75))
        ratio_low, ratio, ratio_high = (float(value) for value in ratios)
        best = min(turn.run.min_ms for turn in runs[name]) if is_latency else float(rounds.max())
        compiled = [turn.run.compile_ms for turn in runs[name]]
        statistics[name] = RoundStatistics(
            *(median, low, high, best, ratio, ratio_low, ratio_high, tuple(map(float, rounds))),
            percentiles={
                percentile: float(np.median([turn.percentiles[percentile] for turn in runs[name]]))
                for percentile in runs[name][0].percentiles
            },
            compile_ms=tuple(value for value in compiled if value is not None),
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
