"""The models that a report compares: runs, and what was measured beside them, in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nncf_mcq.config import ModelFile, QualityReport
from nncf_mcq.metrics import LOWER_IS_BETTER, SHARES, TO_FLOAT, is_to_float, metric_figure
from openvino_eval.compare import FLOAT_ROW, INT8_ROW, Comparison, ComparisonRow
from openvino_eval.formats import MISSING, format_bytes, format_label, format_percent
from openvino_eval.run_result import Run

_NO_ACCURACY: Final = ("average_weight_bits", "bops", "bin_bytes", "xml_bytes")
_OF_ITSELF: Final = {**dict.fromkeys(SHARES & TO_FLOAT.keys(), 1.0), "cosine_to_float": 1.0, "nme_to_float": 0.0}
"""Distance of the float model from itself."""


@dataclass(frozen=True)
class ModelRow:
    """One model; what was not measured is None or missing.

    Attributes:
        name: Its name.
        is_run: Whether it is an output folder of `nncf_mcq`.
        metrics: By name; shares are 0..1.
        average_bits: Bits per quantized weight.
        bin_bytes: Bytes of the weights.
        xml_bytes: Bytes of the topology.
        median_ms: Median latency.
        latency_ratio: Relative to the comparison's first model.
        int8_ratio: Latency relative to all layers in int8, which a run with a budget of latency measures itself.
        quartiles: Of that ratio over the rounds.
        integer_layers: Layers on integer kernels.
        compute_layers: Of how many.
        quality: Closeness of a run's outputs to the float model's.
    """

    name: str
    is_run: bool = False
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    average_bits: float | None = None
    bin_bytes: int | None = None
    xml_bytes: int | None = None
    median_ms: float | None = None
    latency_ratio: float | None = None
    int8_ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    integer_layers: int | None = None
    compute_layers: int | None = None
    quality: QualityReport | None = None

    @property
    def images(self) -> str:
        """The images that a run was measured on, in words; nothing where that is not known."""
        if self.quality is None or not self.quality.count:
            return ""
        seen = ", which the quantization has seen" if self.quality.images == "calibration" else ""
        return f"on {self.quality.count} {self.quality.images} images{seen}"

    def show(self, metric: str) -> str:
        """A metric as text."""
        value = self.metrics.get(metric)
        if value is None:
            return MISSING
        return format_percent(value) if metric in SHARES else metric_figure(metric, float(value))


@dataclass(frozen=True)
class Overview:
    """All models of a report.

    Attributes:
        rows: The float model first.
        metrics: Names of the metrics that any has.
        accuracy: The metric that models are judged by, or None where there is none.
    """

    rows: Sequence[ModelRow]
    metrics: Sequence[str]
    accuracy: str | None

    def row(self, name: str) -> ModelRow:
        """The row of a model."""
        return next(row for row in self.rows if row.name == name)

    @property
    def float_row(self) -> ModelRow | None:
        """The float model, where there is one."""
        return next((row for row in self.rows if row.name == FLOAT_ROW), None)

    @property
    def int8_row(self) -> ModelRow | None:
        """NNCF's 8-bit model, where one was measured."""
        return next((row for row in self.rows if not row.is_run and "int8" in row.name.lower()), None)

    @property
    def has_latency(self) -> bool:
        """Whether the latency of any was measured."""
        return any(row.median_ms is not None for row in self.rows)


def overview(runs: Mapping[str, Run], comparison: Comparison | None) -> Overview:
    """Brings runs and measurements together.

    A run and a row of the comparison are one model where the row's path is the run's IR, or their names are equal.

    Args:
        runs: Title to run.
        comparison: Models measured side by side.
    """
    rows: list[ModelRow] = []
    matched: set[str] = set()
    for position, measured in enumerate(comparison.rows if comparison else ()):
        row = _measured(measured)
        if position == 0 and _is_float(measured):
            row = dataclasses.replace(row, name=FLOAT_ROW)
        title = next((title for title, run in runs.items() if _is_same(title, run, measured)), None)
        if title is not None:
            matched.add(title)
            row = _merged(_of_run(title, runs[title]), row)
        rows.append(row)
    floats = [row for row in rows if row.name == FLOAT_ROW]
    for title, run in runs.items():
        if title not in matched:
            rows.append(_of_run(title, run))
        int8 = _int8_of(run)
        if int8 is not None:
            rows = _with_int8(rows, int8)
        reference = _float_of(run)
        if reference is None:
            continue
        if not floats:
            floats = [reference]
            rows.insert(0, reference)
        elif floats[0].bin_bytes in (None, reference.bin_bytes):
            floats = [_merged(reference, floats[0])]
            rows = [floats[0] if row.name == FLOAT_ROW else row for row in rows]
    known = dict.fromkeys(name for row in rows for name, value in row.metrics.items() if value is not None)
    # Those of single outputs, `sqnr_db NAME`, would be a column each: the closeness of the run has them.
    names = [name for name in known if not (is_to_float(name) and " " in name)]
    labelled = [name for name in names if name not in _NO_ACCURACY and not is_to_float(name)]
    # The divergence alone tells a reader little.
    accuracy = next(iter([*labelled, *(name for name in TO_FLOAT if name in names and name != "kl")]), None)
    if accuracy in _OF_ITSELF and rows[0].name == FLOAT_ROW:
        rows[0] = dataclasses.replace(rows[0], metrics={**rows[0].metrics, accuracy: _OF_ITSELF[accuracy]})
    return Overview(rows, names, accuracy)


def without_outdated(runs: Mapping[str, Run], comparison: Comparison) -> Comparison:
    """A comparison without what was measured of a run's earlier model, which a later run into its folder has replaced.

    Args:
        runs: Title to run.
        comparison: Models measured side by side.

    Returns:
        The rows that still hold, with a warning for each that does not.
    """
    rows, warnings = [], []
    for measured in comparison.rows:
        title = next((title for title, run in runs.items() if _is_same(title, run, measured)), None)
        row = None if title is None else _of_run(title, runs[title])
        if row is not None and row.bin_bytes not in (None, measured.bin_bytes):
            warnings.append(
                f"{title} was measured with weights of {format_bytes(measured.bin_bytes)}, and has "
                f"{format_bytes(row.bin_bytes)} since: measure it again"
            )
        else:
            rows.append(measured)
    return comparison.model_copy(update={"rows": tuple(rows), "warnings": (*comparison.warnings, *warnings)})


def metric_label(name: str) -> str:
    """A metric in the middle of a sentence."""
    label = format_label(name)
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def pareto_front(rows: Sequence[ModelRow], metric: str) -> list[ModelRow]:
    """The models that no other beats in size without losing in the metric, by size.

    Args:
        rows: All with a size and the metric.
        metric: Higher is better, except for those of `LOWER_IS_BETTER`.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def value(row: ModelRow) -> float:
        return sign * float(row.metrics[metric] or 0.0)

    front: list[ModelRow] = []
    for row in sorted(rows, key=lambda row: (row.bin_bytes or 0, -value(row))):
        if not front or value(row) > value(front[-1]):
            front.append(row)
    return front


def sentence(row: ModelRow, models: Overview) -> str:
    """Summary of a run in a sentence.

    Args:
        row: The run's.
        models: All models.
    """
    parts = []
    if row.average_bits is not None:
        parts.append(f"{row.average_bits:.2f} bits per weight")
    reference = models.float_row
    if row.bin_bytes and reference is not None and reference.bin_bytes:
        parts.append(
            f"weights of {format_bytes(row.bin_bytes)}, {reference.bin_bytes / row.bin_bytes:.1f} times smaller"
        )
    metric = models.accuracy
    if metric is not None and row.metrics.get(metric) is not None:
        text = f"{metric_label(metric)} {row.show(metric)}"
        if reference is not None and not is_to_float(metric) and reference.metrics.get(metric) is not None:
            text += f" ({reference.show(metric)} in floating point)"
        parts.append(text)
    return ", ".join(parts)


def _measured(row: ComparisonRow) -> ModelRow:
    known = row.latency_ratio_low is not None and row.latency_ratio_high is not None
    return ModelRow(
        name=row.name,
        metrics=row.metrics,
        bin_bytes=row.bin_bytes,
        xml_bytes=row.xml_bytes,
        median_ms=row.median_ms,
        latency_ratio=row.latency_ratio,
        quartiles=(row.latency_ratio_low or 0.0, row.latency_ratio_high or 0.0) if known else None,
        integer_layers=row.integer_layers,
        compute_layers=row.compute_layers,
    )


def _of_run(title: str, run: Run) -> ModelRow:
    found = _numbers(run.result.metrics.quantized)
    quality = run.result.quality
    if quality is not None and quality.images == "calibration" and quality.outputs:
        # There is nothing else to tell of its quality; a label says what it is.
        found = {**quality.outputs[0].metrics, **found}
    # An embedding is looked up, not computed.
    layers = [layer for layer in run.result.layers if layer.kind != "embedding"]
    is_verified = any(layer.runtime_precision for layer in layers)
    latency = run.result.search.latency
    return ModelRow(
        name=title,
        is_run=True,
        quality=quality,
        int8_ratio=None if latency is None else latency.ratio_to_int8.get("measured"),
        metrics={name: value for name, value in found.items() if name not in ("average_weight_bits", "bops")
                 and not name.endswith("_bytes")},
        average_bits=found.get("average_weight_bits"),
        bin_bytes=_whole(found.get("bin_bytes")),
        xml_bytes=_whole(found.get("xml_bytes")),
        integer_layers=sum(layer.is_integer for layer in layers) if is_verified else None,
        compute_layers=len(layers) if is_verified else None,
    )  # fmt: skip


def _float_of(run: Run) -> ModelRow | None:
    found = _numbers(run.result.metrics.float)
    if not found:
        return None
    return ModelRow(
        name=FLOAT_ROW,
        metrics={name: value for name, value in found.items() if not name.endswith("_bytes")},
        bin_bytes=_whole(found.get("bin_bytes")),
        xml_bytes=_whole(found.get("xml_bytes")),
        **_of_file(run.result.references.get("float")),
    )


def _int8_of(run: Run) -> ModelRow | None:
    found = _numbers(run.result.metrics.nncf_int8)
    if not found:
        return None
    return ModelRow(
        name=INT8_ROW,
        metrics={name: value for name, value in found.items() if not name.endswith("_bytes")},
        bin_bytes=_whole(found.get("bin_bytes")),
        xml_bytes=_whole(found.get("xml_bytes")),
        **_of_file(run.result.references.get("nncf_int8")),
    )


def _of_file(file: ModelFile | None) -> dict[str, Any]:
    """What is known of a model by its file."""
    if file is None:
        return {}
    return {
        "average_bits": file.average_weight_bits,
        "integer_layers": file.integer_layers,
        "compute_layers": file.layers,
    }


def _with_int8(rows: Sequence[ModelRow], int8: ModelRow) -> list[ModelRow]:
    """The rows with NNCF's 8-bit model of a run, once; what a comparison has measured of the same goes before."""
    for number, row in enumerate(rows):
        if not row.is_run and "int8" in row.name.lower():
            is_same = row.bin_bytes in (None, int8.bin_bytes)
            merged = dataclasses.replace(_merged(int8, row), name=row.name) if is_same else row
            return [*rows[:number], merged, *rows[number + 1 :]]
    return [*rows, int8]


def _merged(first: ModelRow, second: ModelRow) -> ModelRow:
    """The first, with what only the second knows; metrics and what compute layers are come from the measurement."""
    known = {
        name: value
        for name in ("bin_bytes", "xml_bytes", "median_ms", "latency_ratio", "quartiles", "integer_layers",
                     "compute_layers")
        if (value := getattr(second, name)) is not None
    }  # fmt: skip
    metrics = {**first.metrics, **{name: value for name, value in second.metrics.items() if value is not None}}
    return dataclasses.replace(first, metrics=metrics, **known)


def _is_float(row: ComparisonRow) -> bool:
    return row.name == FLOAT_ROW or row.integer_layers == 0


def _is_same(title: str, run: Run, row: ComparisonRow) -> bool:
    if title == row.name or run.model is None:
        return title == row.name
    path, model = Path(row.path), run.model.resolve()
    # A relative path is relative to the folder that the comparison was made in, which may be another one.
    return path.resolve() == model or (not path.is_file() and path.parts[-2:] == model.parts[-2:])


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
