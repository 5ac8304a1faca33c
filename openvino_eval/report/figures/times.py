"""The slowest layers."""

from __future__ import annotations

from nncf_mcq.model import INTEGER_PRECISIONS
from openvino_eval.formats import format_percent
from openvino_eval.report.figures.base import Figure, Table, shortened
from openvino_eval.run_result import Run

SLOWEST = 15
"""So many layers are drawn; the table has all."""


def times_figure(run: Run) -> Figure | None:
    """The slowest layers; None where no time was taken."""
    if not run.layer_times:
        return None
    total = sum(item.milliseconds for item in run.layer_times)
    shown = run.layer_times[:SLOWEST][::-1]
    integer = [item.precision in INTEGER_PRECISIONS for item in shown]
    share = sum(item.milliseconds for item in run.layer_times[:SLOWEST]) / total
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [f"{shortened(item.name)} " for item, use in zip(shown, chosen, strict=True) if use],
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
                "categoryarray": [f"{shortened(item.name)} " for item in shown],
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
