"""Several models side by side: the numbers a user chooses by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import openvino as ov
from pydantic import BaseModel, ConfigDict, model_validator

from nncf_mcq.metrics import METRIC_NAMES, is_classifier
from nncf_mcq.model import processor_name
from nncf_mcq.utils import write_text_atomically
from openvino_eval.accuracy import check_metrics, compare_outputs, predict, score
from openvino_eval.documents import read
from openvino_eval.errors import EvaluationError
from openvino_eval.latency import measure_latency
from openvino_eval.layers import count_integer_layers, runtime_layers
from openvino_eval.machine import LoadMeter, spread_warnings
from openvino_eval.options import DEFAULT_THREADS, Precision
from openvino_eval.samples import Samples
from openvino_eval.size import file_bytes

MODELS_FILE: Final = "models.json"
"""File name of a comparison in the folder of its models."""

FLOAT_ROW: Final = "FP32"
"""The float model."""

INT8_ROW: Final = "NNCF INT8"
"""NNCF's own INT8, which latencies of recipes are relative to."""

BF16_SUFFIX = " (bf16)"

_OLD_FILE = "comparison.json"
"""File name in older versions; a contest's results have the same name."""

_OLD_METRICS = ("top1", "agreement", "kl")
"""Metrics that older versions wrote beside the others."""


class ComparisonRow(BaseModel):
    """One model; what was not measured is None.

    Attributes:
        name: Its name in the comparison.
        path: Its `.xml`.
        precision: What its float layers run in.
        bin_bytes: Bytes of the weights.
        xml_bytes: Bytes of the topology.
        median_ms: Median latency of one inference in milliseconds.
        p10_ms: 10th percentile of it.
        latency_ratio: Latency relative to the first model's, below 1 is faster.
        latency_ratio_low: Lower quartile of that over the rounds.
        latency_ratio_high: Upper quartile.
        integer_layers: Convolutions and matrix products that run on 8-bit integers.
        compute_layers: Convolutions and matrix products.
        metrics: What was measured of its answers, by name: those that were asked for, and for classifiers `agreement`,
            the share of top-1 answers equal to the first model's, and `kl`, the mean KL divergence from the first
            model's answers in nats. Files of older versions have some of them beside the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str
    path: str
    precision: Precision
    bin_bytes: int
    xml_bytes: int
    median_ms: float | None = None
    p10_ms: float | None = None
    latency_ratio: float | None = None
    latency_ratio_low: float | None = None
    latency_ratio_high: float | None = None
    integer_layers: int
    compute_layers: int
    metrics: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_metrics(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("metrics", {}), dict):
            return data
        found = {name: data[name] for name in _OLD_METRICS if name in data} | data.get("metrics", {})
        others = {name: value for name, value in data.items() if name not in _OLD_METRICS}
        return others | {"metrics": {name: value for name, value in found.items() if value is not None}}


class Comparison(BaseModel):
    """Several models on the same samples, machine and settings; the first row is the reference.

    Attributes:
        rows: One a model.
        samples: Samples that accuracy was measured on, 0 if it was not.
        threads: Inference threads.
        device: The processor's name.
        openvino_version: The runtime's version.
        model: What was compared, where it has a name.
        command: That made the comparison.
        warnings: Why its latencies should not be trusted, a sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[ComparisonRow, ...]
    samples: int
    threads: int
    device: str
    openvino_version: str
    model: str | None = None
    command: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that any row has, in the order of tables."""
        found = dict.fromkeys(name for row in self.rows for name in row.metrics)
        return [name for name in METRIC_NAMES if name in found] + [name for name in found if name not in METRIC_NAMES]

    def latency_ratios(self, reference: str) -> dict[str, float]:
        """Latency of each row relative to one of them: the quotient of their ratios to the first row's.

        A ratio is the median over rounds in which all models had their turns, so that a busy moment of the machine
        does not decide it; medians of the times themselves, which are of no use to compare, are shown beside it.

        Args:
            reference: Name of a row.

        Returns:
            By name, those that were measured; empty where the reference was not.
        """
        found = {row.name: row.latency_ratio for row in self.rows if row.latency_ratio}
        base = found.get(reference)
        return {} if base is None else {name: ratio / base for name, ratio in found.items()}

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Args:
            path: The file; missing folders are made.
        """
        write_text_atomically(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The comparison.

        Raises:
            EvaluationError: The file is missing or is no comparison.
        """
        return read(path, cls)


def find_comparison(folder: Path) -> Path | None:
    """The comparison of models that a folder holds, also under the name that older versions gave it.

    Args:
        folder: Any folder.

    Raises:
        EvaluationError: A file of the older name is no JSON.
    """
    path, old = folder / MODELS_FILE, folder / _OLD_FILE
    if path.is_file():
        return path
    # A contest's results have no rows.
    return old if old.is_file() and "rows" in read(old, dict[str, Any]) else None


def compare_models(
    models: Mapping[str, Path],
    samples: Samples | None = None,
    *,
    metrics: Sequence[str] = ("top1",),
    latency: bool = True,
    bf16: bool = False,
    batch_size: int | None = None,
    threads: int = DEFAULT_THREADS,
    rounds: int = 15,
    seconds: float = 0.2,
) -> Comparison:
    """Measure models on the same samples and in interleaved turns.

    Args:
        models: Name -> `.xml` of an IR; the first is the reference of agreement, KL and latency ratio.
        samples: Images with targets; None leaves accuracy out.
        metrics: Names of `nncf_mcq.metrics.metrics.METRICS`, for the samples.
        latency: Whether to measure latency.
        bf16: Whether to add a row with the first model's float layers in bf16, which is what OpenVINO would choose
            by itself on a processor that has it.
        batch_size: Images an inference when measuring accuracy; None keeps each model's own.
        threads: Inference threads.
        rounds: Turns a model when measuring latency.
        seconds: Length of a turn.

    Returns:
        One row a model, in the order of `models`; the bf16 row stands second.

    Raises:
        EvaluationError: No model, one that cannot be read or run on the samples, or an unknown metric.
    """
    if not models:
        raise EvaluationError("no model to compare")
    names = check_metrics(metrics)
    entries: dict[str, tuple[Path, Precision]] = {}
    for name, path in models.items():
        entries[name] = (path, Precision.F32)
        if bf16 and len(entries) == 1:
            entries[name + BF16_SUFFIX] = (path, Precision.BF16)
    paths = {name: path for name, (path, _) in entries.items()}
    precisions = {name: precision for name, (_, precision) in entries.items()}
    # Cheap checks of every file come before minutes of inference.
    sizes = {name: file_bytes(path) for name, path in paths.items()}
    layer_counts = {
        name: count_integer_layers(runtime_layers(path, threads=threads, precision=precisions[name]))
        for name, path in paths.items()
    }
    accuracy: dict[str, dict[str, float]] = {name: {} for name in entries}
    if samples is not None:
        found = predict(paths, samples, batch_size=batch_size, threads=threads, precisions=precisions)
        reference = found.outputs[next(iter(found.outputs))]
        for name, answers in found.outputs.items():
            accuracy[name] = score(answers, found.targets, names)
            if is_classifier(reference):
                accuracy[name] |= compare_outputs(answers, reference)
    timing: dict[str, dict[str, float]] = {name: {} for name in entries}
    warnings: list[str] = []
    if latency:
        meter = LoadMeter()
        measured = measure_latency(paths, threads=threads, rounds=rounds, seconds=seconds, precision=precisions)
        for name, result in measured.items():
            timing[name] = {
                "median_ms": result.median_ms,
                "p10_ms": result.p10_ms,
                "latency_ratio": result.ratio,
                "latency_ratio_low": result.ratio_low,
                "latency_ratio_high": result.ratio_high,
            }
        spreads = {name: (item.ratio_low, item.ratio, item.ratio_high) for name, item in measured.items()}
        warnings = [*meter.read().warnings(), *spread_warnings(spreads)]
    rows = [
        ComparisonRow.model_validate(
            {
                "name": name,
                "path": str(paths[name]),
                "precision": precisions[name],
                "xml_bytes": sizes[name][0],
                "bin_bytes": sizes[name][1],
                "integer_layers": layer_counts[name][0],
                "compute_layers": layer_counts[name][1],
                "metrics": accuracy[name],
                **timing[name],
            }
        )
        for name in entries
    ]
    return Comparison(
        rows=tuple(rows),
        samples=0 if samples is None else len(samples),
        threads=threads,
        device=processor_name(),
        openvino_version=ov.get_version(),
        warnings=tuple(warnings),
    )
