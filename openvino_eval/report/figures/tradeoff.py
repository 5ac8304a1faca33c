"""Accuracy against size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nncf_mcq.metrics import SHARES
from openvino_eval.formats import format_bytes, format_label
from openvino_eval.report.figures.base import Figure, Trace
from openvino_eval.report.figures.labels import label_positions
from openvino_eval.report.models import ModelRow, metric_label, pareto_front

# In pixels; the width is that of the plot on a wide page, without the axis.
_HEIGHT, _INNER_HEIGHT, _INNER_WIDTH = 380, 280, 890


def pareto_figure(rows: Sequence[ModelRow], metric: str) -> Figure | None:
    """Size against accuracy; None where fewer than two models have both."""
    known = [row for row in rows if row.bin_bytes and row.metrics.get(metric) is not None]
    if len(known) < 2:
        return None
    front = pareto_front(known, metric)
    label = metric_label(metric)
    sizes = [math.log10(row.bin_bytes or 1) for row in known]
    values = [float(row.metrics[metric] or 0.0) for row in known]
    margin = max((max(values) - min(values)) * 0.18, 1e-4)
    size_range = (min(sizes) - 0.12, max(sizes) + 0.12)
    value_range = (min(values) - margin, max(values) + margin)
    points = [
        (
            _INNER_WIDTH * (size - size_range[0]) / (size_range[1] - size_range[0]),
            _INNER_HEIGHT * (value_range[1] - value) / (value_range[1] - value_range[0]),
        )
        for size, value in zip(sizes, values, strict=True)
    ]
    placed = list(zip(known, label_positions(points, [row.name for row in known]), strict=True))
    percent = metric in SHARES
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
    for name, is_run, colour, symbol in (
        ("models quantized here", True, "$accent", "circle"),
        ("other models", False, "$series-1", "diamond"),
    ):
        members = [row for row in known if row.is_run == is_run]
        if members:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers+text",
                    "name": name,
                    "x": [row.bin_bytes for row in members],
                    "y": [row.metrics[metric] for row in members],
                    "text": [row.name for row in members],
                    "textposition": [place for row, place in placed if row.is_run == is_run],
                    "textfont": {"size": 11},
                    "cliponaxis": False,
                    "customdata": [[format_bytes(row.bin_bytes), row.show(metric)] for row in members],
                    "hovertemplate": f"%{{text}}<br>%{{customdata[0]}}, {label} %{{customdata[1]}}<extra></extra>",
                    "marker": {"color": colour, "size": 10, "symbol": symbol, "line": {"color": "$card", "width": 1}},
                }
            )
    names = ", ".join(row.name for row in front)
    return Figure(
        name="pareto",
        title=f"{format_label(metric)} against size",
        description=f"Weights on disk against {label}. On the Pareto front, where no model is both smaller and better: "
        f"{names}.",
        data=traces,
        layout={
            "xaxis": {
                "title": {"text": "weights on disk (.bin)"},
                "type": "log",
                "range": list(size_range),
                **_byte_ticks(min(sizes), max(sizes)),
            },
            "yaxis": {
                "title": {"text": label},
                "range": list(value_range),
                **({"tickformat": ".2%"} if percent else {}),
            },
        },
        height=_HEIGHT,
    )


def _byte_ticks(low: float, high: float) -> dict[str, object]:
    """Ticks at 1, 2 and 5 times powers of ten, in the units of the tables."""
    values = [
        factor * 10**exponent for exponent in range(math.floor(low) - 1, math.ceil(high) + 1) for factor in (1, 2, 5)
    ]
    texts = [format_bytes(value).replace(".00", "").replace(".0 ", " ") for value in values]
    return {"tickvals": values, "ticktext": texts}
