"""The chart of `benchmarks.growth`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

# Okabe and Ito's colours; networks differ in their dashes.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73")
_DASHES = ("-", "--", ":")
_MARKERS = ("o", "s", "^", "D")


def draw(size: str, series: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Seconds and memory against what grows, as SVG.

    Args:
        size: What grows.
        series: Name to its points: `size`, `seconds` and `megabytes` by part, and `name`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nncf_mcq", "font.size": 10}):
        figure = Figure(figsize=(10, 4.2))
        figure.set_layout_engine("constrained", w_pad=0.12)
        panels = figure.subplots(1, 2)
        for axes, kind, label in zip(
            panels, ("seconds", "megabytes"), ("processor seconds", "memory, MB"), strict=True
        ):
            for dashes, (name, points) in zip(_DASHES * len(series), series.items(), strict=False):
                for color, marker, part in zip(_COLORS, _MARKERS, points[0][kind], strict=False):
                    axes.plot(
                        [point["size"] for point in points],
                        [point[kind][part] for point in points],
                        label=f"{name}: {part}" if len(series) > 1 else part,
                        color=color,
                        marker=marker,
                        markersize=4,
                        linestyle=dashes,
                    )
            # From zero: what is linear is a straight line, and what does not grow a level one.
            axes.set(xlabel=size, ylabel=label)
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.25)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, frameon=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue().decode()
