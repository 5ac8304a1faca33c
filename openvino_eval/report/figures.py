"""The plots of a report as plain data: what Plotly draws, what a screen reader reads, and the same as a table.

Colours are names such as `$bits-4`, which the page replaces by those of the light or dark palette.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openvino_eval.contest import Standing
from openvino_eval.formats import MISSING, format_bytes, format_label, format_number, format_percent
from openvino_eval.report.models import ModelRow, metric_label, pareto_front
from openvino_eval.report.palette import bits_colour, series
from openvino_eval.run_result import LayerHistogram, LayerResult, Run

Trace = dict[str, Any]

SLOWEST = 15
"""So many layers are drawn; the table has all."""

_SMALLEST_SCORE = 1e-9


@dataclass(frozen=True)
class Table:
    """What a figure shows, as text.

    Attributes:
        headings: Of the columns.
        rows: One value for each heading.
        text_columns: So many columns at the left are names, the others figures.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


@dataclass(frozen=True)
class Choice:
    """One of several views of a figure.

    Attributes:
        name: What it is chosen by.
        caption: What it shows.
        data: Its traces.
    """

    name: str
    caption: str
    data: Sequence[Trace]


@dataclass(frozen=True)
class Figure:
    """A plot.

    Attributes:
        name: Part of the element's id.
        title: The heading.
        description: What it shows, in a sentence: the text alternative.
        data: Plotly's traces.
        layout: Plotly's layout, without what all figures have in common.
        height: In pixels.
        table: The same as text; None where another table of the report has it.
        choices: Views of which one is shown at a time.
        first: Index of the one that is shown at the beginning.
    """

    name: str
    title: str
    description: str
    data: Sequence[Trace]
    layout: Mapping[str, Any]
    height: int
    table: Table | None = None
    choices: Sequence[Choice] = field(default_factory=list)
    first: int = 0


def bits_text(bits: int | None) -> str:
    """A width in words."""
    return "float" if bits is None else f"{bits} bit" if bits == 1 else f"{bits} bits"


def layers_figure(run: Run) -> Figure:
    """Weight bits by layer, above what each width of the layer alone costs."""
    layers = run.result.layers
    numbers = list(range(1, len(layers) + 1))
    names = [layer.name for layer in layers]
    sensitivities = _sensitivities(run)
    bars = {
        "type": "bar",
        "x": numbers,
        "y": [8 if layer.bits is None else layer.bits for layer in layers],
        "marker": {"color": [bits_colour(layer.bits) for layer in layers]},
        "customdata": [[name, bits_text(layer.bits)] for name, layer in zip(names, layers, strict=True)],
        "hovertemplate": "%{x}. %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        "showlegend": False,
    }
    ticks = sorted({0, 2, 4, 6, 8})
    layout: dict[str, Any] = {
        "bargap": 0.18,
        "xaxis": {"title": {"text": "layer, in the order of the model"}, "range": [0.4, len(layers) + 0.6]},
        "yaxis": {"title": {"text": "weight bits"}, "range": [0, 8.4], "tickvals": ticks, "domain": [0.62, 1]},
    }
    lower = _sensitivity_traces(layers, numbers, sensitivities)
    if lower:
        layout["yaxis2"] = {"domain": [0, 0.5], "anchor": "x", **lower.layout}
        layout["xaxis"]["anchor"] = "y2"
    else:
        layout["yaxis"]["domain"] = [0, 1]
    widths = {layer.bits for layer in layers}
    counts = ", ".join(
        f"{sum(layer.bits == bits for layer in layers)} at {bits_text(bits)}"
        for bits in sorted(widths, key=lambda bits: math.inf if bits is None else bits)
    )
    title = f"Bits and {lower.title}" if lower else "Bits"
    return Figure(
        name="layers",
        title=f"{title} of every layer",
        description=f"{len(layers)} layers: {counts}." + (f" {lower.sentence}" if lower else ""),
        data=[bars, *(lower.traces if lower else [])],
        layout=layout,
        height=460 if lower else 260,
    )


@dataclass(frozen=True)
class _LowerPlot:
    title: str
    sentence: str
    traces: list[Trace]
    layout: dict[str, Any]


def _sensitivities(run: Run) -> Mapping[str, Mapping[str, float]]:
    details = (run.result.search or {}).get("details") or {}
    found = details.get("sensitivities")
    return found if isinstance(found, dict) else {}


def _sensitivity_traces(
    layers: Sequence[LayerResult], numbers: list[int], sensitivities: Mapping[str, Mapping[str, float]]
) -> _LowerPlot | None:
    of_layers = [sensitivities.get(_extra(layer, "group") or layer.name, {}) for layer in layers]
    widths = sorted({int(bits) for values in of_layers for bits in values})
    if widths:
        values = [[found.get(str(bits)) or None for found in of_layers] for bits in widths]
        shown = [[None if v is None else math.log10(max(v, _SMALLEST_SCORE)) for v in row] for row in values]
        ends = [value for row in shown for value in row if value is not None]
        heat = {
            "type": "heatmap",
            "x": numbers,
            "y": widths,
            "z": shown,
            "yaxis": "y2",
            "customdata": [
                [[layer.name, format_number(v)] for layer, v in zip(layers, row, strict=True)] for row in values
            ],
            "hovertemplate": "%{x}. %{customdata[0]}<br>at %{y} bits alone: %{customdata[1]}<extra></extra>",
            "colorscale": [[0, "$card"], [0.5, "$accent-soft"], [1, "$accent"]],
            "xgap": 1,
            "ygap": 1,
            "hoverongaps": False,
            "colorbar": {
                "len": 0.5,
                "y": 0.25,
                "thickness": 10,
                "outlinewidth": 0,
                **_log_ticks(min(ends, default=0), max(ends, default=1)),
            },
        }
        chosen = {
            "type": "scatter",
            "mode": "markers",
            "x": numbers,
            "y": [layer.bits for layer in layers],
            "yaxis": "y2",
            "marker": {"color": "$card", "size": 6, "line": {"color": "$text", "width": 1.5}},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        most = max(range(len(layers)), key=lambda index: max(of_layers[index].values(), default=0.0))
        return _LowerPlot(
            "sensitivity",
            f"Below: what the score loses when a layer alone gets so few bits, blank where that is nothing; a ring "
            f"marks the width it got. "
            f"Most sensitive: layer {most + 1}, {layers[most].name}.",
            [heat, chosen],
            {"title": {"text": "bits of it alone"}, "tickvals": widths, "range": [widths[0] - 0.5, widths[-1] + 0.5]},
        )
    errors = [_number(_extra(layer, "relative_error")) for layer in layers]
    if all(error is None for error in errors):
        return None
    trace = {
        "type": "bar",
        "x": numbers,
        "y": errors,
        "yaxis": "y2",
        "marker": {"color": "$accent"},
        "customdata": [layer.name for layer in layers],
        "hovertemplate": "%{x}. %{customdata}<br>%{y:.3g}<extra></extra>",
        "showlegend": False,
    }
    most = max(range(len(layers)), key=lambda index: errors[index] or 0.0)
    return _LowerPlot(
        "error",
        f"Below: the error left in each layer's output, relative to the output; largest in layer {most + 1}, "
        f"{layers[most].name}. Sensitivities were not measured: this policy was not searched with them.",
        [trace],
        {"title": {"text": "output error"}, "type": "log", "exponentformat": "power"},
    )


def rules_figure(run: Run) -> Figure | None:
    """Share of channels by the clipping rule that they chose; None where there was one rule for all."""
    layers = run.result.layers
    channels = [_extra(layer, "rule_channels") or {} for layer in layers]
    rules = list(dict.fromkeys(rule for counts in channels for rule in counts))
    if len(rules) < 2:
        return None
    numbers = list(range(1, len(layers) + 1))
    totals = [max(sum(counts.values()), 1) for counts in channels]
    traces = [
        {
            "type": "bar",
            "name": rule,
            "x": numbers,
            "y": [counts.get(rule, 0) / total for counts, total in zip(channels, totals, strict=True)],
            "marker": {"color": series(index)},
            "customdata": [
                [layer.name, counts.get(rule, 0), total]
                for layer, counts, total in zip(layers, channels, totals, strict=True)
            ],
            "hovertemplate": f"%{{x}}. %{{customdata[0]}}<br>{rule}: %{{customdata[1]}} of %{{customdata[2]}} channels"
            "<extra></extra>",
        }
        for index, rule in enumerate(rules)
    ]
    whole = {rule: sum(counts.get(rule, 0) for counts in channels) for rule in rules}
    shares = ", ".join(f"{rule} {100 * count / max(sum(whole.values()), 1):.0f} %" for rule, count in whole.items())
    return Figure(
        name="rules",
        title="Clipping rule of every layer",
        description=f"Share of each layer's channels by the rule that left the least error in them. Of all: {shares}.",
        data=traces,
        layout={
            "barmode": "stack",
            "bargap": 0.18,
            "legend": {"traceorder": "normal"},
            "xaxis": {"title": {"text": "layer, in the order of the model"}, "range": [0.4, len(layers) + 0.6]},
            "yaxis": {"title": {"text": "channels"}, "tickformat": ".0%", "range": [0, 1]},
        },
        height=280,
        table=Table(
            ["Layer", *rules],
            [
                [f"{number}. {layer.name}", *(str(counts.get(rule, 0)) for rule in rules)]
                for number, layer, counts in zip(numbers, layers, channels, strict=True)
            ],
        ),
    )


def weights_figure(run: Run) -> Figure | None:
    """Weights of a layer before and after, with the threshold; None where there are no histograms."""
    if run.histograms is None:
        return None
    reach = run.histograms.reach
    found = run.histograms.layers
    kept = [layer for layer in run.result.layers if layer.name in found]
    numbers = {layer.name: number for number, layer in enumerate(run.result.layers, start=1)}
    if not kept:
        return None
    choices = [
        Choice(
            f"{numbers[layer.name]}. {layer.name}",
            _weights_caption(layer, found[layer.name]),
            _weight_traces(found[layer.name], reach),
        )
        for layer in kept
    ]
    rows = [
        [
            f"{numbers[layer.name]}. {layer.name}",
            bits_text(layer.bits),
            format_percent(found[layer.name].clipped),
            *(format_number(value) for value in found[layer.name].thresholds),
            format_number(found[layer.name].largest),
        ]
        for layer in kept
    ]
    # A layer of few bits has levels to look at; of those, the largest.
    sizes = [(len(found[layer.name].level_counts), -sum(found[layer.name].float_counts)) for layer in kept]
    first = sizes.index(min(sizes))
    edge = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "$warn", "width": 1.5, "dash": "dash"}}
    return Figure(
        name="weights",
        title="Weights before and after",
        description="Density of a layer's weights, each in its own channel's clip range: float weights as an area, the "
        "quantization levels as bars, and the threshold as a dashed line at -1 and 1. What lies beyond is clipped.",
        data=choices[first].data,
        layout={
            "barmode": "overlay",
            "shapes": [{**edge, "x0": end, "x1": end} for end in (-1, 1)],
            "xaxis": {"title": {"text": "weight / threshold of its channel"}, "range": [-reach, reach]},
            "yaxis": {"title": {"text": "density"}, "rangemode": "tozero"},
        },
        height=320,
        table=Table(
            ["Layer", "Bits", "Clipped", "Threshold, smallest", "median", "largest", "Largest weight"], rows, 2
        ),
        choices=choices,
        first=first,
    )


def _weights_caption(layer: LayerResult, histogram: LayerHistogram) -> str:
    rule = f", rule {layer.rule}" if layer.rule else ""
    return (
        f"{bits_text(layer.bits)}{rule}: {format_percent(histogram.clipped)} of the weights clipped; thresholds "
        f"{format_number(histogram.thresholds[0])} to {format_number(histogram.thresholds[2])}, largest weight "
        f"{format_number(histogram.largest)}"
    )


def _weight_traces(histogram: LayerHistogram, reach: float) -> list[Trace]:
    total = max(sum(histogram.float_counts), 1)
    bins = len(histogram.float_counts)
    width, spacing = 2 * reach / bins, 2 / max(len(histogram.level_counts) - 1, 1)
    # Plain numbers of few digits: there are thousands.
    return [
        {
            "type": "bar",
            "name": "after: levels",
            "x": [round(-1 + spacing * index, 4) for index in range(len(histogram.level_counts))],
            "y": [round(count / total / spacing, 4) for count in histogram.level_counts],
            "width": round(spacing * 0.82, 5),
            "marker": {"color": "$accent", "opacity": 0.75},
            "hovertemplate": "level at %{x:.3f}: density %{y:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "before: float",
            "x": [round(-reach + width * (index + 0.5), 4) for index in range(bins)],
            "y": [round(count / total / width, 4) for count in histogram.float_counts],
            "line": {"color": "$series-1", "width": 1.8, "shape": "hvh"},
            "fill": "tozeroy",
            "fillcolor": "$series-1-soft",
            "hovertemplate": "float at %{x:.2f}: density %{y:.3f}<extra></extra>",
        },
    ]


def pareto_figure(rows: Sequence[ModelRow], metric: str) -> Figure | None:
    """Size against accuracy; None where fewer than two models have both."""
    known = [row for row in rows if row.bin_bytes and row.metrics.get(metric) is not None]
    if len(known) < 2:
        return None
    front = pareto_front(known, metric)
    label = metric_label(metric)
    percent = metric not in ("kl",)
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": [row.bin_bytes for row in front],
            "y": [row.metrics[metric] for row in front],
            "line": {"color": "$accent", "width": 1.5, "dash": "dot"},
            "hoverinfo": "skip",
            "showlegend": len(front) > 1,
        }
    ]
    for name, members, colour, symbol in (
        ("models quantized here", [row for row in known if row.is_run], "$accent", "circle"),
        ("other models", [row for row in known if not row.is_run], "$series-1", "diamond"),
    ):
        if members:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers+text",
                    "name": name,
                    "x": [row.bin_bytes for row in members],
                    "y": [row.metrics[metric] for row in members],
                    "text": [row.name for row in members],
                    "textposition": "top center",
                    "textfont": {"size": 11},
                    "cliponaxis": False,
                    "customdata": [[format_bytes(row.bin_bytes), row.show(metric)] for row in members],
                    "hovertemplate": f"%{{text}}<br>%{{customdata[0]}}, {label} %{{customdata[1]}}<extra></extra>",
                    "marker": {"color": colour, "size": 10, "symbol": symbol, "line": {"color": "$card", "width": 1}},
                }
            )
    sizes = [math.log10(row.bin_bytes or 1) for row in known]
    names = ", ".join(row.name for row in front)
    values = [float(row.metrics[metric] or 0.0) for row in known]
    margin = max((max(values) - min(values)) * 0.18, 1e-4)
    return Figure(
        name="pareto",
        title=f"{format_label(metric)} against size",
        description=f"Weights on disk against {label}. On the Pareto front, where nothing is both smaller and better: "
        f"{names}.",
        data=traces,
        layout={
            "xaxis": {
                "title": {"text": "weights on disk (.bin)"},
                "type": "log",
                "range": [min(sizes) - 0.12, max(sizes) + 0.12],
                **_byte_ticks(min(sizes), max(sizes)),
            },
            "yaxis": {
                "title": {"text": label},
                "range": [min(values) - margin, max(values) + margin],
                **({"tickformat": ".2%"} if percent else {}),
            },
        },
        height=380,
    )


def curves_figure(name: str, standings: Sequence[Standing]) -> Figure | None:
    """Best score by evaluations of all entrants of a contest: medians, and the range between the quartiles."""
    traces: list[Trace] = []
    rows = []
    for index, standing in enumerate(standings):
        counts = sorted({count for record in standing.records.values() for count, _ in record.curve})
        # A step outlives its last improvement.
        counts = sorted({*counts, int(max(record.evaluations for record in standing.records.values()))})
        spreads = [(count, standing.score_after(count)) for count in counts]
        points = [(count, spread) for count, spread in spreads if math.isfinite(spread.median)]
        rows.append([str(standing.entrant), f"{standing.evaluations:g}", format_number(standing.final.median)])
        if not points:
            continue
        finite = [(count, spread) for count, spread in points if math.isfinite(spread.low + spread.high)]
        colour, group = series(index), str(standing.entrant)
        if len(standing.records) > 1 and finite:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": [count for count, _ in finite] + [count for count, _ in reversed(finite)],
                    "y": [spread.high for _, spread in finite] + [spread.low for _, spread in reversed(finite)],
                    "fill": "toself",
                    "fillcolor": f"{colour}-soft",
                    "line": {"width": 0, "shape": "hv"},
                    "legendgroup": group,
                    "showlegend": False,
                    "hoverinfo": "skip",
                }
            )
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": group,
                "x": [count for count, _ in points],
                "y": [spread.median for _, spread in points],
                "line": {"color": colour, "width": 2, "shape": "hv", "dash": _dash(str(standing.entrant.arm))},
                "marker": {"color": colour, "size": 5, "symbol": _SYMBOLS[index % len(_SYMBOLS)]},
                "legendgroup": group,
                "hovertemplate": f"{group}<br>after %{{x}} policies: %{{y:.4g}}<extra></extra>",
            }
        )
    if not traces:
        return None
    best = min(standings, key=lambda standing: standing.final.median)
    return Figure(
        name="curves",
        title=f"Search curves: {name}",
        description=f"Median best score by number of scored policies, and the range between the quartiles of the "
        f"seeds; lower is better. Best in the end: {best.entrant}, {format_number(best.final.median)}.",
        data=traces,
        layout=_curve_layout(),
        height=380,
        table=Table(["Method", "Policies scored", "Median final score"], rows),
    )


def run_curves_figure(runs: Mapping[str, Run]) -> Figure | None:
    """Best score by evaluations of single searches; None where none kept its curve."""
    traces: list[Trace] = []
    rows = []
    for index, (name, run) in enumerate(runs.items()):
        search = run.result.search or {}
        details = search.get("details") or {}
        curve = details.get("curve")
        if not curve:
            continue
        points = [*curve, [search.get("evaluations", curve[-1][0]), curve[-1][1]]]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{name} ({search.get('method', 'search')})",
                "x": [count for count, _ in points],
                "y": [score for _, score in points],
                "line": {"color": series(index), "width": 2, "shape": "hv"},
                "marker": {"color": series(index), "size": 5},
                "hovertemplate": f"{name}<br>after %{{x}} policies: %{{y:.4g}}<extra></extra>",
            }
        )
        rows.append([name, str(search.get("method", MISSING)), str(points[-1][0]), format_number(points[-1][1])])
    if not traces:
        return None
    return Figure(
        name="run-curves",
        title="Search curves of the runs",
        description="Best score by number of scored policies, sensitivities included; lower is better. Runs without a "
        "curve did not search step by step.",
        data=traces,
        layout=_curve_layout(),
        height=320,
        table=Table(["Run", "Method", "Policies scored", "Final score"], rows, 2),
    )


def times_figure(run: Run) -> Figure | None:
    """The slowest layers; None where no time was taken."""
    if not run.layer_times:
        return None
    total = sum(item.milliseconds for item in run.layer_times)
    shown = run.layer_times[:SLOWEST][::-1]
    integer = [item.precision in ("i8", "u8") for item in shown]
    share = sum(item.milliseconds for item in run.layer_times[:SLOWEST]) / total
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [f"{_shortened(item.name)} " for item, use in zip(shown, chosen, strict=True) if use],
            "x": [item.milliseconds for item, use in zip(shown, chosen, strict=True) if use],
            "customdata": [
                [item.name, item.layer_type, item.precision, f"{100 * item.milliseconds / total:.1f}"]
                for item, use in zip(shown, chosen, strict=True)
                if use
            ],
            "marker": {"color": colour},
            "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}, %{customdata[2]}: %{x:.4f} ms, %{customdata[3]} %"
            "<extra></extra>",
        }
        for name, chosen, colour in (
            ("on integers", integer, "$accent"),
            ("in floating point", [not use for use in integer], "$series-1"),
        )
        if any(chosen)
    ]
    slowest = run.layer_times[0]
    return Figure(
        name="times",
        title="Slowest layers",
        description=f"The {len(shown)} slowest layers take {100 * share:.0f} % of the time; the slowest is "
        f"{slowest.name} with {100 * slowest.milliseconds / total:.0f} %.",
        data=traces,
        layout={
            "barmode": "stack",
            "bargap": 0.25,
            "xaxis": {"title": {"text": "milliseconds of one inference"}, "rangemode": "tozero"},
            "yaxis": {
                "categoryorder": "array",
                "categoryarray": [f"{_shortened(item.name)} " for item in shown],
                "automargin": True,
                "ticks": "",
            },
        },
        height=110 + 22 * len(shown),
        table=Table(
            ["Layer", "Type", "Precision", "Time, ms", "Share"],
            [
                [
                    item.name,
                    item.layer_type,
                    item.precision,
                    f"{item.milliseconds:.4f}",
                    format_percent(item.milliseconds / total),
                ]
                for item in run.layer_times
            ],
            3,
        ),
    )


_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross", "pentagon", "hexagon")


def _dash(arm: str) -> str:
    return {"cold": "dash", "-": "dot"}.get(arm, "solid")


def _curve_layout() -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": "policies scored"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "best score so far"}, "type": "log", "exponentformat": "power"},
        "hovermode": "closest",
    }


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    exponents = list(range(math.ceil(low), math.floor(high) + 1)) or [round((low + high) / 2)]
    return {"tickvals": exponents, "ticktext": [f"10<sup>{exponent}</sup>" for exponent in exponents]}


def _byte_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times powers of ten, in the units of the tables."""
    values = [
        factor * 10**exponent for exponent in range(math.floor(low) - 1, math.ceil(high) + 1) for factor in (1, 2, 5)
    ]
    return {"tickvals": values, "ticktext": [format_bytes(value).replace(".00", "") for value in values]}


def _shortened(name: str, length: int = 42) -> str:
    return name if len(name) <= length else "…" + name[-(length - 1) :]


def _extra(layer: LayerResult, key: str) -> Any:
    return (layer.model_extra or {}).get(key)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


def figures(found: Iterable[Figure | None]) -> list[Figure]:
    """Those that there are."""
    return [figure for figure in found if figure is not None]


def metric_heading(name: str) -> str:
    """A metric as the heading of a column."""
    return format_label(name)
