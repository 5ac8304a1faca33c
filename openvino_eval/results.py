"""Results of many runs kept in one file, and the table made of them, with published figures beside it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from nncf_mcq.config import RESULT_FILE, RunResult
from nncf_mcq.metrics import METRIC_NAMES, SHARES, TO_FLOAT, metric_heading
from nncf_mcq.utils import write_text_atomically
from openvino_eval.compare import FLOAT_ROW, INT8_ROW, Comparison, ComparisonRow, find_comparison
from openvino_eval.documents import read
from openvino_eval.errors import EvaluationError
from openvino_eval.formats import MISSING, format_bytes
from openvino_eval.run_result import load_run

ACCURACY_METRICS = tuple(name for name in METRIC_NAMES if name in SHARES and name not in TO_FLOAT)
"""Of accuracy, in the order of preference."""

_LEGEND = (
    "Each table names the command that measured it. drop: of the first metric against FP32, in points; agree: top-1 "
    "agreement with FP32; of FP32: bytes of the `.bin` relative to the float model's; int8: layers on int8 kernels in "
    "the file as read back; latency: median of interleaved rounds at batch 1, relative to NNCF INT8; seconds: wall "
    "time of the whole run, search and test included, on a machine that may have been doing other work as well."
)
_PUBLISHED = (
    "Figures from publications, on other images (ImageNet's and COCO's validation sets), partly with other weights of "
    "the same network, and not measured here: the drops are for orientation, not for a comparison of methods."
)


class ResultRow(BaseModel):
    """One model of a group; what was not measured is None.

    Attributes:
        method: How it was made.
        weight_bits: Mean width of the weights.
        activation_bits: Width of the activations, or the smallest and largest, e.g. `6-8`.
        metrics: Name to value, shares of 1; also `agreement`.
        bin_bytes: Bytes of the weights.
        integer_layers: Convolutions and matrix products that run on 8-bit integers.
        compute_layers: Convolutions and matrix products.
        latency_ratio: Relative to NNCF INT8.
        seconds: Wall time of making and measuring it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    weight_bits: float | None = None
    activation_bits: str | None = None
    metrics: dict[str, float] = {}
    bin_bytes: int
    integer_layers: int
    compute_layers: int
    latency_ratio: float | None = None
    seconds: float | None = None


class ResultGroup(BaseModel):
    """Results of one command for one model on the same images; the first row is the float model.

    Attributes:
        model: Name of the recipe.
        command: That made it.
        samples: Number of test images.
        device: The processor's name, where latency was measured.
        rows: One a variant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    command: str
    samples: int
    device: str | None = None
    rows: tuple[ResultRow, ...]


class PublishedFigure(BaseModel):
    """A figure from the literature.

    Attributes:
        model: The network.
        method: Whose, and how.
        bits: Widths, e.g. `W4A8`.
        metric: E.g. `top-1`.
        fp32: Of the float model, in percent.
        quantized: Of the quantized model, in percent; None where only `note` is known.
        note: What is printed in the place of a drop.
        source: Where it is printed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    method: str
    bits: str
    metric: str
    fp32: float | None = None
    quantized: float | None = None
    note: str = MISSING
    source: str

    @property
    def drop(self) -> str:
        """In points, or what is known instead."""
        if self.fp32 is None or self.quantized is None:
            return self.note
        return f"{self.fp32 - self.quantized:.2f}"


def collect(folder: Path) -> ResultGroup:
    """Results in a folder written by `recipes/compare.py` or `nncf-mcq quantize`.

    Args:
        folder: With a models.json, or else with a result.json.

    Raises:
        EvaluationError: There is neither, or one that does not say what it was made of and how.
    """
    comparison = find_comparison(folder)
    if comparison is not None:
        return _of_comparison(comparison, Comparison.load(comparison))
    return _of_run(folder, load_run(folder).result)


def merge(known: Iterable[ResultGroup], new: Iterable[ResultGroup]) -> list[ResultGroup]:
    """All groups by model and command; a new one takes the place of that of the same command."""
    groups = {(group.model, group.command): group for group in [*known, *new]}
    return [groups[key] for key in sorted(groups)]


def load_groups(path: Path) -> list[ResultGroup]:
    """Groups that `save_groups` wrote; empty if there is no such file.

    Raises:
        EvaluationError: The file holds something else.
    """
    return read(path, list[ResultGroup]) if path.is_file() else []


def save_groups(path: Path, groups: Sequence[ResultGroup]) -> None:
    """Writes groups as JSON, without what was not measured."""
    text = json.dumps([group.model_dump(exclude_none=True) for group in groups], indent=1)
    write_text_atomically(path, text + "\n")


def load_published(path: Path) -> list[PublishedFigure]:
    """Figures from the literature.

    Raises:
        EvaluationError: The file is missing or holds something else.
    """
    return read(path, list[PublishedFigure])


def markdown(groups: Sequence[ResultGroup], published: Sequence[PublishedFigure], command: str) -> str:
    """The document.

    Args:
        groups: In the order of the document.
        published: Figures from the literature.
        command: That makes it again.
    """
    parts = ["# Results", f"Made by `{command}`.", _wrap(_LEGEND)]
    for model in dict.fromkeys(group.model for group in groups):
        parts.append(f"## {model}")
        for group in groups:
            if group.model == model:
                device = f", {group.device}" if group.device else ""
                parts += [f"`{group.command}`, {group.samples} test images{device}:", _group_table(group)]
    if published:
        columns: dict[str, Callable[[PublishedFigure], str]] = {
            "network": lambda figure: figure.model,
            "method": lambda figure: figure.method,
            "bits": lambda figure: figure.bits,
            "metric": lambda figure: figure.metric,
            "drop (published)": lambda figure: figure.drop,
            "source": lambda figure: figure.source,
        }
        cells = [[text(figure) for text in columns.values()] for figure in published]
        parts += ["## Published", _wrap(_PUBLISHED), _table(list(columns), cells, text_columns=(0, 1, 2, 3, 5))]
    return "\n\n".join(parts) + "\n"


def _group_table(group: ResultGroup) -> str:
    reference = group.rows[0]
    metrics = [name for name in ACCURACY_METRICS if name in reference.metrics]
    has_agreement = any("agreement" in row.metrics for row in group.rows)
    headings = ["method", "W bits", "A bits", *map(metric_heading, metrics)]
    headings += [*(["drop"] if metrics else []), *([metric_heading("agreement")] if has_agreement else [])]
    headings += [".bin", "of FP32", "int8", "latency", "seconds"]
    cells = []
    for row in group.rows:
        line = [row.method, _number(row.weight_bits, "g"), row.activation_bits or MISSING]
        line += [_percent(row.metrics.get(name)) for name in metrics]
        if metrics:
            value = row.metrics.get(metrics[0])
            is_other = row is not reference and value is not None
            line.append(_percent(reference.metrics[metrics[0]] - (value or 0.0)) if is_other else MISSING)
        if has_agreement:
            line.append(_percent(row.metrics.get("agreement")))
        line += [
            format_bytes(row.bin_bytes),
            f"{row.bin_bytes / reference.bin_bytes:.3f}",
            f"{row.integer_layers}/{row.compute_layers}",
            _number(row.latency_ratio, ".2f"),
            _number(row.seconds, ".0f"),
        ]
        cells.append(line)
    return _table(headings, cells, text_columns=(0,))


def _of_comparison(file: Path, comparison: Comparison) -> ResultGroup:
    if comparison.model is None or comparison.command is None:
        raise EvaluationError(f"{file}: does not say what was compared by which command")
    latency_ratios = comparison.latency_ratios(INT8_ROW)
    rows = []
    for index, row in enumerate(comparison.rows):
        result = file.parent / Path(row.path).parent.name / RESULT_FILE
        made = _made(load_run(result.parent).result) if result.is_file() else _known_bits(row, is_float=index == 0)
        rows.append(
            ResultRow(
                method=row.name,
                metrics=row.metrics,
                bin_bytes=row.bin_bytes,
                integer_layers=row.integer_layers,
                compute_layers=row.compute_layers,
                latency_ratio=latency_ratios.get(row.name),
                **made,
            )
        )
    return ResultGroup(
        model=comparison.model,
        command=comparison.command,
        samples=comparison.samples,
        device=comparison.device,
        rows=tuple(rows),
    )


def _of_run(folder: Path, run: RunResult) -> ResultGroup:
    path = folder / RESULT_FILE
    sizes = (run.metrics.float.get("bin_bytes"), run.metrics.quantized.get("bin_bytes"))
    if run.origin is None or None in sizes:
        raise EvaluationError(
            f"{path}: not written by `nncf-mcq quantize`, or by an older version: no origin, or no sizes"
        )
    layers = len(run.layers)
    integer = sum(layer.is_integer for layer in run.layers)
    float_row, quantized_row = (
        ResultRow(
            method=method,
            metrics={name: values[name] for name in (*ACCURACY_METRICS, "agreement") if name in values},
            bin_bytes=int(size or 0),
            integer_layers=count,
            compute_layers=layers,
            **made,
        )
        for method, values, size, count, made in (
            (FLOAT_ROW, run.metrics.float, sizes[0], 0, {"weight_bits": 32.0, "activation_bits": "32"}),
            (run.search.method or "quantized", run.metrics.quantized, sizes[1], integer, _made(run)),
        )
    )
    return ResultGroup(
        model=run.origin.config,
        command=run.origin.command,
        samples=run.search.dataset.report,
        rows=(float_row, quantized_row),
    )


def _made(run: RunResult) -> dict[str, Any]:
    """Widths and time of a run."""
    widths = sorted({layer.activation_bits for layer in run.layers if layer.activation_bits is not None})
    seconds = run.timing.seconds
    average = run.metrics.quantized.get("average_weight_bits")
    return {
        "weight_bits": None if average is None else round(average, 3),
        "activation_bits": "-".join(str(width) for width in dict.fromkeys((widths[0], widths[-1]))) if widths else None,
        "seconds": round(sum(seconds.values()), 1) if seconds else None,
    }


def _known_bits(row: ComparisonRow, *, is_float: bool) -> dict[str, Any]:
    if is_float:
        return {"weight_bits": 32.0, "activation_bits": "32"}
    return {"weight_bits": 8.0, "activation_bits": "8"} if row.name == INT8_ROW else {}


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]], text_columns: Sequence[int]) -> str:
    alignments = ["---" if index in text_columns else "---:" for index in range(len(headings))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [headings, alignments, *cells])


def _wrap(text: str) -> str:
    return textwrap.fill(text, 119)


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.2f}"


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)
