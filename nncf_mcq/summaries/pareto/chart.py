"""A front as a picture: what is lost by size, with a band for the uncertainty."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nncf_mcq.config.pareto_file import IntervalReport, ParetoPoint, ParetoReport
from nncf_mcq.summaries.pareto.words import in_its_unit, quality_heading, quality_names
from nncf_mcq.utils.pages import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("text", "quiet", "line", "accent", "accent-soft", "card")
"""Those of the page that the picture has, so that it can follow its dark form."""

_LOGARITHMIC = 8.0
"""Ratio of the largest to the smallest score from which on they are drawn on a logarithmic axis."""


def draw(report: ParetoReport, file_format: Literal["png", "svg"]) -> bytes:
    """The front: a panel for the score, and one for the agreement and each drop of a metric that is known.

    Args:
        report: The front.
        file_format: Of the picture.
    """
    # Loading matplotlib takes longer than most commands of the CLI.
    import matplotlib
    import matplotlib.ticker
    from matplotlib.figure import Figure

    names = [name for name in quality_names(report) if name != "kl"]
    style = matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "nncf_mcq",
            "font.size": 10,
            "text.color": LIGHT["text"],
            "axes.labelcolor": LIGHT["text"],
            "axes.titlecolor": LIGHT["text"],
            "xtick.color": LIGHT["quiet"],
            "ytick.color": LIGHT["quiet"],
            "axes.edgecolor": LIGHT["quiet"],
            "axes.facecolor": LIGHT["card"],
            "figure.facecolor": LIGHT["card"],
            "grid.color": LIGHT["line"],
        }
    )
    with style:
        figure = Figure(figsize=(5.4 * (1 + len(names)), 4.4), layout="constrained")
        first, *others = figure.subplots(1, 1 + len(names), squeeze=False)[0]
        _draw_scores(first, report)
        for axes, name in zip(others, names, strict=True):
            points = [point for point in report.points if name in point.qualities]
            _draw_band(axes, points, [point.qualities[name] for point in points], name)
            axes.set_title(quality_heading(name), fontsize=11)
        unit, word = (1e6, "MB") if report.points[-1].bytes >= 1e6 else (1e3, "kB")
        for axes in (first, *others):
            axes.set_xlabel(f"weights on disk (.bin), {word}")
            axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda size, _: f"{size / unit:g}"))
            axes.grid(linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        stream = io.BytesIO()
        # A date would make every file another one.
        figure.savefig(stream, format=file_format, dpi=144, metadata={"Date": None} if file_format == "svg" else {})
    return stream.getvalue()


def draw_for_page(report: ParetoReport) -> str:
    """The picture as an element of a page, in the colours of the page, light or dark."""
    text = draw(report, "svg").decode()
    text = text[text.index("<svg") :]
    for name in _COLOURS:
        text = text.replace(LIGHT[name], f"var(--{name})")
    return text


def _draw_scores(axes: Axes, report: ParetoReport) -> None:
    values = [point.score.value for point in (*report.points, *report.dominated) if point.score.value is not None]
    is_logarithmic = min(values) > 0 and max(values) > _LOGARITHMIC * min(values)
    band = f"{100 * report.confidence:g} % interval"
    floor = min(values) / _LOGARITHMIC if is_logarithmic else None
    _draw_band(axes, report.points, [point.score for point in report.points], "", band, floor)
    others = [point for point in report.dominated if point.score.value is not None]
    if others:
        axes.plot(
            [point.bytes for point in others],
            [point.score.value or 0.0 for point in others],
            linestyle="",
            marker="o",
            markersize=6,
            color=LIGHT["quiet"],
            markerfacecolor="none",
            label="dominated",
        )
    for point in report.points:
        axes.annotate(
            f"{point.average_bits:.1f}",
            (point.bytes, point.score.value or 0.0),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=8.5,
            color=LIGHT["quiet"],
        )
    if is_logarithmic:
        axes.set_yscale("log")
    axes.set_title("score (lower is better) and bits per weight", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _draw_band(
    axes: Axes,
    points: Sequence[ParetoPoint],
    intervals: Sequence[IntervalReport],
    name: str,
    label: str = "",
    floor: float | None = None,
) -> None:
    """A line with the interval of each point around it; what has no number is left out.

    Args:
        axes: To draw on.
        points: Ascending in size.
        intervals: Of each.
        name: Of the quality.
        label: Of the band in a legend.
        floor: Where an interval ends that a logarithmic axis has no place for.
    """
    known = [
        (point.bytes, found.value, found.value if found.low is None else found.low, found.high)
        for point, found in zip(points, intervals, strict=True)
        if found.value is not None
    ]
    sizes = [size for size, *_ in known]
    centre = [in_its_unit(name, value) for _, value, _, _ in known]
    low = [in_its_unit(name, end if floor is None else max(end, floor)) for _, _, end, _ in known]
    high = [in_its_unit(name, value if end is None else end) for _, value, _, end in known]
    axes.fill_between(sizes, low, high, color=LIGHT["accent-soft"], alpha=0.7, linewidth=0, label=label)
    axes.plot(sizes, centre, marker="o", markersize=6, linewidth=1.6, color=LIGHT["accent"], label="front")
