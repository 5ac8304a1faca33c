"""Best score by number of scored policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from openvino_eval.contest import Standing
from openvino_eval.formats import MISSING, format_number
from openvino_eval.report.figures.base import Figure, Table, Trace
from openvino_eval.report.palette import series
from openvino_eval.run_result import Run

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross", "pentagon", "hexagon")


def curves_figure(name: str, standings: Sequence[Standing]) -> Figure | None:
    """Best score by evaluations of all competitors of a contest: medians, and the range between the quartiles."""
    traces: list[Trace] = []
    rows = []
    for index, standing in enumerate(standings):
        counts = sorted({count for record in standing.records.values() for count, _ in record.curve})
        # A step outlives its last improvement.
        counts = sorted({*counts, int(max(record.evaluations for record in standing.records.values()))})
        spreads = [(count, standing.score_after(count)) for count in counts]
        points = [(count, spread) for count, spread in spreads if math.isfinite(spread.median)]
        rows.append([str(standing.competitor), f"{standing.evaluations:g}", format_number(standing.final.median)])
        if not points:
            continue
        finite = [(count, spread) for count, spread in points if math.isfinite(spread.low + spread.high)]
        colour, group = series(index), str(standing.competitor)
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
                "line": {"color": colour, "width": 2, "shape": "hv", "dash": _dash(str(standing.competitor.arm))},
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
        f"seeds; lower is better. Best final score: {best.competitor}, {format_number(best.final.median)}.",
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
        search = run.result.search
        curve = search.details.get("curve")
        if not curve:
            continue
        points = [*curve, [search.evaluations or curve[-1][0], curve[-1][1]]]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{name} ({search.method or 'search'})",
                "x": [count for count, _ in points],
                "y": [score for _, score in points],
                "line": {"color": series(index), "width": 2, "shape": "hv"},
                "marker": {"color": series(index), "size": 5},
                "hovertemplate": f"{name}<br>after %{{x}} policies: %{{y:.4g}}<extra></extra>",
            }
        )
        rows.append([name, search.method or MISSING, str(points[-1][0]), format_number(points[-1][1])])
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


def _dash(arm: str) -> str:
    return {"cold": "dash", "-": "dot"}.get(arm, "solid")


def _curve_layout() -> dict[str, object]:
    return {
        "xaxis": {"title": {"text": "policies scored"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "best score so far"}, "type": "log", "exponentformat": "power"},
        "hovermode": "closest",
    }
