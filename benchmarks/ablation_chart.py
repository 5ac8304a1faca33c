"""The plot of the ablation."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmarks.ablation_cases import (
    ADAROUND,
    COMPENSATED,
    CORRECTIONS,
    DEFAULT_CORRECTION,
    DESCENT,
    MIXED,
    NEAREST,
    ROUNDING_NAMES,
    SEQUENTIAL,
    Case,
)
from benchmarks.ablation_rows import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, without the yellow: it is pale in print. Lines of one colour differ in their dashes.
_BLACK, _GREY, _ORANGE, _SKY = "#000000", "#808080", "#E69F00", "#56B4E9"
_GREEN, _BLUE, _RED, _PINK = "#009E73", "#0072B2", "#D55E00", "#CC79A7"
_STYLES: dict[str, tuple[str, str, str]] = {
    "max": (_GREY, "o", "-"),
    "percentile": (_SKY, "s", "-"),
    "mse": (_BLUE, "D", "-"),
    "mae": (_BLUE, "^", "--"),
    "kl": (_PINK, "v", "-"),
    "aciq_laplace": (_ORANGE, "P", "-"),
    "aciq_gauss": (_ORANGE, "X", "--"),
    "output_mse": (_GREEN, "<", "-"),
    "hessian": (_RED, ">", "-"),
    MIXED: (_BLACK, "*", "-"),
    NEAREST: (_GREY, "o", "-"),
    COMPENSATED: (_SKY, "s", "-"),
    DESCENT: (_BLACK, "*", "-"),
    ADAROUND: (_RED, "^", "--"),
    SEQUENTIAL: (_BLUE, "D", "-."),
    "none": (_GREY, "o", "-"),
    "bias": (_SKY, "s", "-"),
    "gain": (_ORANGE, "P", "--"),
    "bias+regression": (_GREEN, "<", "-"),
}


def draw(rows: Rows) -> str:
    """The chart as SVG; see `draw_bytes`."""
    return draw_bytes(rows, "svg").decode()


def draw_bytes(rows: Rows, file_format: str) -> bytes:
    """The chart: KL over bits and ratios of KL, by rule, by rounding and by correction; per channel.

    Args:
        rows: What was measured.
        file_format: svg or png.
    """
    import matplotlib
    from matplotlib.figure import Figure

    def case(bits: int, rule: str = MIXED, rounding: str = DESCENT, correction: str = DEFAULT_CORRECTION) -> Case:
        return Case(bits, "channel", rule, rounding, correction)

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nncf_mcq", "font.size": 10}):
        figure = Figure(figsize=(12, 10.5))
        figure.set_layout_engine("constrained", h_pad=0.12, w_pad=0.12)
        panels = figure.subplots(2, 2)
        rules, ratios, roundings, corrections = panels.flat
        for rule in rows.rules:
            _line(rules, rule, rule, {bits: rows.kl(case(bits, rule)) for bits in rows.bits})
            if rule != MIXED:
                _line(ratios, rule, rule, {bits: rows.ratio(case(bits, rule), case(bits)) for bits in rows.bits})
        for rounding, name in ROUNDING_NAMES.items():
            _line(roundings, rounding, name, {bits: rows.kl(case(bits, rounding=rounding)) for bits in rows.bits})
        for correction in (name for name in CORRECTIONS if name != DEFAULT_CORRECTION):
            values = {bits: rows.ratio(case(bits, correction=correction), case(bits)) for bits in rows.bits}
            _line(corrections, correction, correction, values)
        for axes, name in ((ratios, MIXED), (corrections, DEFAULT_CORRECTION)):
            axes.axhline(1, color=_BLACK, linestyle=":", linewidth=1.5, label=name)
        kl = "KL to the float outputs"
        rules.set(title=f"Rules ({DESCENT}, per channel)", ylabel=kl)
        ratios.set(title=f"Rules relative to {MIXED}", ylabel=f"KL / KL of {MIXED}")
        roundings.set(title=f"Roundings ({MIXED}, per channel)", ylabel=kl)
        corrections.set(title=f"Corrections ({MIXED}, {DESCENT})", ylabel=f"KL / KL of {DEFAULT_CORRECTION}")
        for axes in panels.flat:
            _finish(axes, rows, is_ratio=axes in (ratios, corrections))
        stream = io.BytesIO()
        metadata = {"Date": None} if file_format == "svg" else None
        figure.savefig(stream, format=file_format, metadata=metadata, dpi=110)
    return stream.getvalue()


def _line(axes: Axes, style: str, label: str, values: Mapping[int, float | None]) -> None:
    points = [(bits, value) for bits, value in values.items() if value is not None]
    if not points:
        return
    color, marker, dashes = _STYLES[style]
    size = 10 if marker == "*" else 6
    width = 2.2 if color == _BLACK else 1.4
    axes.plot(
        *zip(*points, strict=True),
        label=label,
        color=color,
        marker=marker,
        linestyle=dashes,
        linewidth=width,
        markersize=size,
    )


def _finish(axes: Axes, rows: Rows, is_ratio: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(xlabel="weight bits", xticks=sorted(rows.bits), yscale="log")
    axes.grid(which="both", alpha=0.25)
    if is_ratio:
        low, high = axes.get_ylim()
        # A decade of ratios needs more than its two ends named.
        steps = [1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0] if high / low < 20 else [1.0, 2.0, 5.0]
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False)
