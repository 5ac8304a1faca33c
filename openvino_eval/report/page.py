"""Renders a report."""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from nncf_mcq.config import FloatWeight, LayerResult, QualityReport
from nncf_mcq.metrics import SHARES, TO_FLOAT, is_to_float, metric_name
from nncf_mcq.utils import DARK, LIGHT, page_environment, write_text_atomically
from openvino_eval.compare import Comparison
from openvino_eval.contest import Standing
from openvino_eval.formats import (
    MISSING,
    config_without_folders,
    flatten,
    format_bytes,
    format_json,
    format_label,
    format_milliseconds,
    format_number,
    format_percent,
    without_folders,
)
from openvino_eval.report.figures import (
    Figure,
    bits_text,
    curves_figure,
    figures,
    layers_figure,
    pareto_figure,
    rules_figure,
    run_curves_figure,
    times_figure,
    weights_figure,
)
from openvino_eval.report.models import Overview, metric_label, overview, sentence, without_outdated
from openvino_eval.report.next_steps import next_steps
from openvino_eval.report.thumbnails import HEIGHT, WIDTH, thumbnails
from openvino_eval.run_result import Run

# In the result for other tools; in the table they would push out what a reader looks for.
_HIDDEN_COLUMNS = ("group", "size_share", "mac_share", "integer_kernel")
_TEXT_COLUMNS = ("name", "kind", "bits", "rule", "runtime_precision", "float_cause")
_OPEN_RUNS = 2
"""Sections of so many runs are open when the page is; the others open on demand, and in print."""


def write_report(
    path: Path,
    *,
    comparison: Comparison | None = None,
    runs: Mapping[str, Run] | None = None,
    contests: Mapping[str, list[Standing]] | None = None,
    title: str = "Quantization report",
) -> None:
    """Render a report to a file.

    Args:
        path: The HTML file; missing folders are made.
        comparison: Models measured side by side.
        runs: Title -> run.
        contests: Title -> standings of search methods.
        title: The heading.

    Raises:
        OSError: The file cannot be written.
    """
    write_text_atomically(path, render_report(comparison=comparison, runs=runs, contests=contests, title=title))


def render_report(
    *,
    comparison: Comparison | None = None,
    runs: Mapping[str, Run] | None = None,
    contests: Mapping[str, list[Standing]] | None = None,
    title: str = "Quantization report",
) -> str:
    """Render a report.

    Args:
        comparison: Models measured side by side.
        runs: Title -> run.
        contests: Title -> standings of search methods.
        title: The heading.

    Returns:
        A whole HTML document without references to other files.
    """
    environment = page_environment("openvino_eval")
    environment.filters.update(
        percent=format_percent,
        bytes=format_bytes,
        milliseconds=format_milliseconds,
        number=format_number,
        label=format_label,
        json=format_json,
        bits=bits_text,
        is_to_float=is_to_float,
        says=lambda name: TO_FLOAT[name.partition(" ")[0]],
    )
    environment.globals.update(missing=MISSING, metric_label=metric_label, thumbnail_size=(WIDTH, HEIGHT))
    runs = runs or {}
    comparison = None if comparison is None else without_outdated(runs, comparison)
    models = overview(runs, comparison)
    shared = figures([None if models.accuracy is None else pareto_figure(models.rows, models.accuracy)])
    curves = figures(
        [run_curves_figure(runs), *(curves_figure(name, found) for name, found in (contests or {}).items())]
    )
    sections = [_section(name, run, models, len(runs)) for name, run in runs.items()]
    return environment.get_template("report.html.j2").render(
        title=title,
        comparison=comparison,
        models=models,
        shared=_numbered(shared, "shared"),
        curves=_numbered(curves, "search"),
        sections=sections,
        palettes=_script_json({"light": LIGHT, "dark": DARK}),
        plotly=_compressed_plotly(),
    )


def layer_columns(layers: tuple[LayerResult, ...]) -> list[str]:
    """The columns of the table of layers: the known ones that any layer fills, then every further plain value.

    Args:
        layers: Any order.

    Returns:
        Keys of the layers.
    """
    found: dict[str, None] = {}
    for layer in layers:
        for key, value in layer.model_dump().items():
            if key not in _HIDDEN_COLUMNS and value is not None and isinstance(value, str | int | float):
                found[key] = None
    known = [key for key in _TEXT_COLUMNS if key in found]
    return known + [key for key in found if key not in _TEXT_COLUMNS]


def _section(name: str, run: Run, models: Overview, runs: int) -> dict[str, object]:
    """Values of a run for the template."""
    result, row = run.result, models.row(name)
    weights = weights_figure(run)
    found = figures([rules_figure(run), weights, times_figure(run)])
    number = list(models.rows).index(row)
    return {
        "name": name,
        "row": row,
        "open": runs <= _OPEN_RUNS,
        "sentence": sentence(row, models),
        "warnings": result.warnings,
        "layers": _numbered([layers_figure(run)], f"run{number}")[0] if result.layers else None,
        "figures": _numbered(found, f"run{number}"),
        "thumbnails": thumbnails(weights.choices, run.histograms.reach) if weights and run.histograms else [],
        "next_steps": next_steps(run),
        "missing": [
            text
            for is_missing, text in (
                (run.histograms is None, "Histograms of the weights: the folder has no histograms.json."),
                (run.layer_times is None, "Time of each layer: not measured."),
                (rules_figure(run) is None, _single_rule(result.layers)),
            )
            if is_missing and text
        ],
        "columns": layer_columns(result.layers),
        "text_columns": _TEXT_COLUMNS,
        "rows": [layer.model_dump() for layer in result.layers],
        "config": None if run.config is None else config_without_folders(run.config),
        "details": {
            heading: lines
            for heading, lines in (
                (f"Closeness to the float model {row.images}", list(_quality(result.quality))),
                ("Weights in floating point", list(_float_weights(result.float_weights))),
                ("Search", [(key, without_folders(value)) for key, value in flatten(result.search.to_dict())]),
                ("Timing", list(flatten(result.timing.to_dict()))),
            )
            if lines
        },
        # Names of packages, which no heading should rewrite.
        "versions": list(result.versions.items()),
    }


def _float_weights(weights: Sequence[FloatWeight]) -> Iterator[tuple[str, str]]:
    """Name, and what there is to say of it."""
    for item in weights:
        size = f"{format_percent(item.share)} of the weights, {item.bits} bits each"
        yield item.name, f"{item.kind.replace('_', ' ')}, {size}: {item.reason}"


def _quality(quality: QualityReport | None) -> Iterator[tuple[str, str]]:
    """Name of each output, and what there is to say of it."""
    for output in () if quality is None else quality.outputs:
        parts = [f"{metric_name(name)} {_shown(name, value)}" for name, value in output.metrics.items()]
        worst = output.worst
        if worst is not None:
            image = f"image {worst.index}" if worst.name is None else worst.name
            parts.append(f"worst {image}, {metric_name(worst.metric)} {_shown(worst.metric, worst.value)}")
        yield f"{output.name}: {output.description or output.kind.replace('_', ' ')}", "; ".join(parts)
    for note in () if quality is None else quality.notes:
        yield "Note", note


def _shown(metric: str, value: float) -> str:
    return format_percent(value) if metric in SHARES else format_number(value)


def _single_rule(layers: tuple[LayerResult, ...]) -> str:
    rules = sorted({layer.rule for layer in layers if layer.rule})
    return f"Clipping rule: {', '.join(rules)} for all channels of a layer." if rules else ""


def _numbered(found: list[Figure], prefix: str) -> list[dict[str, object]]:
    """Figures with an id of their own and their plots as text that may stand in a script element."""
    return [
        {
            "id": f"{prefix}-{index}-{figure.name}",
            "figure": figure,
            "plot": _script_json(
                {
                    "data": list(figure.data) if not figure.choices else [],
                    "layout": dict(figure.layout) | {"height": figure.height},
                    "choices": [{"caption": item.caption, "data": list(item.data)} for item in figure.choices],
                }
            ),
        }
        for index, figure in enumerate(found)
    ]


def _script_json(value: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


@functools.cache
def _compressed_plotly() -> str:
    """Plotly's script as base64 of gzip: two fifths of its size; browsers unpack it by themselves."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
