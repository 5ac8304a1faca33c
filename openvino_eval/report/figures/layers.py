"""Bits and sensitivity of every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nncf_mcq import FLOAT_CHOICE
from nncf_mcq.config import LayerResult
from openvino_eval.formats import format_number
from openvino_eval.report.figures.base import Figure, Trace, bits_text
from openvino_eval.report.palette import bits_colour
from openvino_eval.run_result import Run

_SMALLEST_SCORE = 1e-12
_FLOAT_PLACE = 9
"""Where float stands on an axis of widths."""


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
        f"{sum(layer.bits == bits for layer in layers)} {_at(bits)}"
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
    found = run.result.search.details.get("sensitivities")
    return found if isinstance(found, dict) else {}


def _sensitivity_traces(
    layers: Sequence[LayerResult], numbers: list[int], sensitivities: Mapping[str, Mapping[str, float]]
) -> _LowerPlot | None:
    of_layers = [sensitivities.get(layer.group or layer.name, {}) for layer in layers]
    widths = sorted({int(bits) for values in of_layers for bits in values})
    if widths:
        values = [[found.get(str(bits)) or None for found in of_layers] for bits in widths]
        shown = [[None if v is None else math.log10(max(v, _SMALLEST_SCORE)) for v in row] for row in values]
        ends = [value for row in shown for value in row if value is not None]
        heat = {
            "type": "heatmap",
            "x": numbers,
            "y": [_place(bits) for bits in widths],
            "z": shown,
            "yaxis": "y2",
            "customdata": [
                [
                    [
                        layer.name,
                        format_number(v),
                        f"in {bits_text(None)}" if bits == FLOAT_CHOICE else f"at {bits_text(bits)}",
                    ]
                    for layer, v in zip(layers, row, strict=True)
                ]
                for bits, row in zip(widths, values, strict=True)
            ],
            "hovertemplate": "%{x}. %{customdata[0]}<br>%{customdata[2]} alone: %{customdata[1]}<extra></extra>",
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
            # Where float was no choice, a layer that is in float was none either.
            "y": [_FLOAT_PLACE if layer.bits is None and FLOAT_CHOICE in widths else layer.bits for layer in layers],
            "yaxis": "y2",
            "marker": {"color": "$card", "size": 6, "line": {"color": "$text", "width": 1.5}},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        most = max(range(len(layers)), key=lambda index: max(of_layers[index].values(), default=0.0))
        return _LowerPlot(
            "sensitivity",
            f"Below: how much worse the score gets when one layer alone has these bits, blank if not at all; a ring "
            f"marks the chosen bit-width. "
            f"Most sensitive: layer {most + 1}, {layers[most].name}.",
            [heat, chosen],
            {
                "title": {"text": "bits of this layer alone"},
                "tickvals": [_place(bits) for bits in widths],
                "ticktext": [bits_text(None) if bits == FLOAT_CHOICE else str(bits) for bits in widths],
                "range": [_place(widths[0]) - 0.5, _place(widths[-1]) + 0.5],
            },
        )
    errors = [layer.relative_error or None for layer in layers]
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


def _at(bits: int | None) -> str:
    return f"{'in' if bits is None else 'at'} {bits_text(bits)}"


def _place(bits: int) -> int:
    return _FLOAT_PLACE if bits == FLOAT_CHOICE else bits


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    exponents = list(range(math.ceil(low), math.floor(high) + 1)) or [round((low + high) / 2)]
    return {"tickvals": exponents, "ticktext": [f"10<sup>{exponent}</sup>" for exponent in exponents]}
