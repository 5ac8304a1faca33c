"""Best score so far by evaluations, as a drawing."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from openvino_eval.contest.methods import METHODS, Arm
from openvino_eval.contest.standings import Standing

# Colours of Okabe and Ito, which people with any colour vision tell apart; markers and lines differ as well.
_COLOURS = (
    "#d55e00",
    "#cc79a7",
    "#000000",
    "#7f7f7f",
    "#0072b2",
    "#009e73",
    "#e69f00",
    "#56b4e9",
    "#8b5a2b",
    "#999933",
)
_MARKERS = "*Xs+oD^vP<"
_LINES = {Arm.WARM: "-", Arm.COLD: "--", Arm.NONE: ":"}
_MARKS = 8


def draw(standings: Sequence[Standing], evaluations: int) -> str:
    """Medians with the range between the quartiles, as SVG.

    Args:
        standings: All of them.
        evaluations: Of each search: how far the axis goes.
    """
    # Loading matplotlib takes longer than most commands.
    import matplotlib
    import matplotlib.ticker
    from matplotlib.figure import Figure

    names = list(METHODS)
    counts = list(range(1, evaluations + 1))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "openvino_eval"}):
        figure = Figure(figsize=(10, 6), layout="constrained")
        axes = figure.subplots()
        for position, standing in enumerate(standings):
            index = names.index(standing.competitor.method)
            spreads = [standing.score_after(count) for count in counts]
            medians = [_or_gap(spread.median) for spread in spreads]
            if not standing.records or all(math.isnan(value) for value in medians):
                continue
            axes.plot(
                counts,
                medians,
                label=str(standing.competitor),
                linestyle=_LINES[standing.competitor.arm],
                linewidth=1.6,
                marker=_MARKERS[index],
                markerfacecolor="white" if standing.competitor.arm is Arm.COLD else _COLOURS[index],
                markersize=7,
                markevery=_marked(medians, position, len(standings)),
                color=_COLOURS[index],
                drawstyle="steps-post",
            )
            axes.fill_between(
                counts,
                [_or_gap(spread.low) for spread in spreads],
                [_or_gap(spread.high) for spread in spreads],
                step="post",
                color=_COLOURS[index],
                alpha=0.12,
                linewidth=0,
            )
        axes.set(yscale="log", xlabel="unique policies scored, sensitivities included", ylabel="best score so far")
        axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatterSciNotation(minor_thresholds=(4, 1)))
        axes.set_xlim(1, max(evaluations, 2))
        axes.set_title("Median over the seeds and range between the quartiles; lower is better", fontsize=10)
        axes.grid(which="both", alpha=0.25)
        # Until a policy keeps the budget there is no curve.
        if axes.lines:
            figure.legend(loc="outside right upper", frameon=False, handlelength=4)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _marked(values: Sequence[float], position: int, competitors: int) -> list[int]:
    """Where the markers of a curve are: shifted by competitor, so that curves which coincide can be told apart."""
    first = next(index for index, value in enumerate(values) if not math.isnan(value))
    step = max((len(values) - first) // _MARKS, 1)
    shifted = range(first + step * position // max(competitors, 1), len(values), step)
    return sorted({first, *shifted})


def _or_gap(value: float) -> float:
    return value if math.isfinite(value) else math.nan
