"""The rows of the ablation as markdown tables, findings in words, and a plot."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.ablation_cases import (
    ADAROUND,
    COMPENSATED,
    CORRECTION_ROUNDINGS,
    CORRECTION_RULES,
    CORRECTIONS,
    DEFAULT_CORRECTION,
    DESCENT,
    GRANULARITIES,
    MIXED,
    NEAREST,
    ROUNDINGS,
    RULES,
    SEQUENTIAL,
    Case,
    Granularity,
)
from nncf_mcq.utils.files import write_text_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT_FILE, CHART_FILE = "ablation.md", "ablation.svg"
_SMALLEST_KL = 1e-9
_NEGLIGIBLE = 0.01
"""A KL ratio this close to 1 neither helps nor hurts."""

_ROUNDING_NAMES = {
    NEAREST: "nearest",
    COMPENSATED: "error_compensated",
    DESCENT: "coordinate_descent",
    ADAROUND: "AdaRound",
    SEQUENTIAL: "+ sequential pass",
}

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


class Rows:
    """The rows that were measured, by case.

    Args:
        data: What ablation.json holds.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._rows: dict[str, Mapping[str, Any]] = {key: row for key, row in data["rows"].items() if "error" not in row}
        self.all = list(self._rows.values())
        self.failed = {key: row["error"] for key, row in data["rows"].items() if "error" in row}
        self.bits = sorted({row["bits"] for row in self.all}, reverse=True)
        self.granularities = [name for name in GRANULARITIES if any(row["granularity"] == name for row in self.all)]
        self.rules = [name for name in RULES if any(row["rule"] == name for row in self.all)]

    def get(self, case: Case) -> Mapping[str, Any] | None:
        """The row of a case, or None."""
        return self._rows.get(case.key)

    def kl(self, case: Case) -> float | None:
        """KL divergence to the float model, or None."""
        row = self.get(case)
        return None if row is None else max(row["kl"], _SMALLEST_KL)

    def ratio(self, case: Case, other: Case) -> float | None:
        """KL of a case relative to another's, or None."""
        first, second = self.kl(case), self.kl(other)
        return None if first is None or second is None else first / second

    def best_rule(self, bits: int, granularity: Granularity, rounding: str) -> str | None:
        """The single rule of least KL, or None where none was measured."""
        found = {
            rule: value
            for rule in self.rules
            if rule != MIXED and (value := self.kl(Case(bits, granularity, rule, rounding))) is not None
        }
        return min(found, key=found.__getitem__) if found else None


def save(data: Mapping[str, Any], directory: Path) -> list[Path]:
    """Writes ablation.md and ablation.svg.

    Args:
        data: What ablation.json holds.
        directory: Where to; made if it is missing.

    Returns:
        The paths of both files.
    """
    rows = Rows(data)
    contents = {REPORT_FILE: markdown(data, rows), CHART_FILE: draw(rows)}
    for name, text in contents.items():
        write_text_atomically(directory / name, text)
    return [directory / name for name in contents]


def markdown(data: Mapping[str, Any], rows: Rows) -> str:
    """The report: findings first, then the tables."""
    setup, references = data["setup"], data["references"]
    int8 = references.get("nncf_int8")
    lines = ["# Ablation at uniform widths", ""]
    if setup:
        lines += [
            f"{_short(data['config']['model'])}: {setup['layers']} layers, {setup['weights']:,} weights; "
            f"{setup['calibration_images']} calibration and {setup['report_images']} report images; "
            f"{setup['activation_bits']}-bit activations; {setup['threads']} threads of {setup['cpus']}.",
            "",
        ]
    if "top1" in references.get("float", {}):
        lines += [f"- float: top-1 {100 * references['float']['top1']:.2f} %"]
    if int8:
        lines += [f"- NNCF INT8 (KL · agreement % · top-1 %): {_cell(int8)}"]
    lines += [
        "",
        "Cells: KL to the float outputs · agreement with the float model in % · top-1 in %, on the report images.",
    ]
    lines += ["", "## Findings", "", *(f"- {line}" for line in findings(rows)), ""]
    if rows.failed:
        lines += ["Not measured:", "", *(f"- {key}: {error}" for key, error in rows.failed.items()), ""]
    for granularity in rows.granularities:
        lines += [
            f"## Rules, one scale per {granularity}",
            "",
            "Correction: bias and energy gain. Bold: least KL of the single rules.",
            "",
        ]
        for rounding in ROUNDINGS:
            lines += [f"### {_ROUNDING_NAMES[rounding]}", "", *_rule_table(rows, granularity, rounding), ""]
    lines += _roundings_section(rows)
    for granularity in rows.granularities:
        lines += [f"## Corrections, one scale per {granularity}", "", *_correction_table(rows, granularity), ""]
    lines += [
        "## Seconds",
        "",
        "Median over widths and granularities, to build the table of one width; without the Fisher information.",
        "",
    ]
    lines += [*_seconds_table(rows), ""]
    return "\n".join(lines)


def _short(model: str) -> str:
    """The model's name without the folders that it happens to lie in."""
    return "/".join(model.split("/")[-2:])


def findings(rows: Rows) -> list[str]:
    """What the numbers say, one sentence each: ratios of KL, of which less than 1 is a gain."""
    found: list[str] = []
    for granularity in rows.granularities:
        parts = []
        for bits in rows.bits:
            best = rows.best_rule(bits, granularity, DESCENT)
            if best is None:
                continue
            ratio = rows.ratio(Case(bits, granularity, MIXED, DESCENT), Case(bits, granularity, best, DESCENT))
            if ratio is not None:
                parts.append(f"{bits} bits {ratio:.2f} ({best})")
        if parts:
            found.append(
                f"{MIXED} against the best single rule of each width, per {granularity}, {DESCENT}: KL ratio "
                + ", ".join(parts)
            )
    fixed = _best_fixed_rule(rows)
    if fixed is not None:
        found.append(fixed)
    comparisons = [
        ("gain energy against none (both with bias)", DEFAULT_CORRECTION, "bias"),
        ("gain energy against regression (both with bias)", DEFAULT_CORRECTION, "bias+regression"),
        ("bias against none (both with gain energy)", DEFAULT_CORRECTION, "gain"),
    ]
    corrected = [
        Case(bits, granularity, rule, rounding)
        for granularity in rows.granularities
        for rule in CORRECTION_RULES
        for rounding in CORRECTION_ROUNDINGS
        for bits in rows.bits
    ]
    for name, correction, other in comparisons:
        pairs = [(replace(case, correction=correction), replace(case, correction=other)) for case in corrected]
        found += _compare(name, rows, pairs)
    mixed = [Case(bits, "channel", MIXED, DESCENT) for bits in rows.bits]
    for rounding, other in ((DESCENT, COMPENSATED), (DESCENT, NEAREST), (DESCENT, ADAROUND), (SEQUENTIAL, DESCENT)):
        name = f"{_ROUNDING_NAMES[rounding]} against {_ROUNDING_NAMES[other]} ({MIXED}, per channel)"
        pairs = [(replace(case, rounding=rounding), replace(case, rounding=other)) for case in mixed]
        found += _compare(name, rows, pairs)
    return found


def _best_fixed_rule(rows: Rows) -> str | None:
    """Mixed clipping against the one rule that would have been best at all widths together."""
    ratios: dict[str, list[float]] = {}
    for rule in rows.rules:
        found = [
            rows.ratio(Case(bits, "channel", MIXED, DESCENT), Case(bits, "channel", rule, DESCENT))
            for bits in rows.bits
        ]
        known = [value for value in found if value is not None]
        if rule != MIXED and known and len(known) == len(found):
            ratios[rule] = known
    if not ratios:
        return None
    best = max(ratios, key=lambda rule: _geometric_mean(ratios[rule]))
    values = ratios[best]
    return (
        f"{MIXED} against {best}, the best rule of all widths together, per channel, {DESCENT}: "
        f"KL ratio {_geometric_mean(values):.2f} in the geometric mean, {min(values):.2f} to {max(values):.2f}"
    )


def _compare(name: str, rows: Rows, pairs: Iterable[tuple[Case, Case]]) -> list[str]:
    """A line: the geometric mean of the KL ratios by width, and where it helps and hurts; none without rows."""
    by_bits: dict[int, list[float]] = {}
    for first, second in pairs:
        ratio = rows.ratio(first, second)
        if ratio is not None:
            by_bits.setdefault(first.bits, []).append(ratio)
    if not by_bits:
        return []
    means = {bits: _geometric_mean(values) for bits, values in by_bits.items()}
    helps = [str(bits) for bits, mean in means.items() if mean < 1 - _NEGLIGIBLE]
    hurts = [str(bits) for bits, mean in means.items() if mean > 1 + _NEGLIGIBLE]
    every = [value for values in by_bits.values() for value in values]
    text = f"{name}: KL ratio " + ", ".join(f"{bits} bits {mean:.2f}" for bits, mean in means.items())
    text += f"; helps at {_bits(helps)}, hurts at {_bits(hurts)}"
    if len(every) > len(means):
        text += f" (better in {sum(value < 1 for value in every)} of {len(every)} pairs)"
    return [text]


def _bits(names: Sequence[str]) -> str:
    return f"{', '.join(names)} bits" if names else "none"


def _rule_table(rows: Rows, granularity: Granularity, rounding: str) -> list[str]:
    best = {bits: rows.best_rule(bits, granularity, rounding) for bits in rows.bits}
    lines = []
    for rule in rows.rules:
        cells = []
        for bits in rows.bits:
            cell = _cell(rows.get(Case(bits, granularity, rule, rounding)))
            cells.append(f"**{cell}**" if best[bits] == rule else cell)
        lines.append([rule, *cells])
    return _table(["rule", *(f"{bits} bits" for bits in rows.bits)], lines)


def _roundings_section(rows: Rows) -> list[str]:
    if "channel" not in rows.granularities or MIXED not in rows.rules:
        return []
    lines = [
        [name, *(_cell(rows.get(Case(bits, "channel", MIXED, rounding))) for bits in rows.bits)]
        for rounding, name in _ROUNDING_NAMES.items()
    ]
    title = f"## Roundings, {MIXED}, one scale per channel"
    return [title, "", *_table(["rounding", *(f"{bits} bits" for bits in rows.bits)], lines), ""]


def _correction_table(rows: Rows, granularity: Granularity) -> list[str]:
    lines = [
        [
            rule,
            rounding,
            correction,
            *(_cell(rows.get(Case(bits, granularity, rule, rounding, correction))) for bits in rows.bits),
        ]
        for rule in CORRECTION_RULES
        if rule in rows.rules
        for rounding in CORRECTION_ROUNDINGS
        for correction in CORRECTIONS
    ]
    return _table(["rule", "rounding", "correction", *(f"{bits} bits" for bits in rows.bits)], lines)


def _seconds_table(rows: Rows) -> list[str]:
    def seconds(rule: str, rounding: str) -> str:
        found = [
            row["seconds"]
            for row in rows.all
            if (row["rule"], row["rounding"], row["correction"]) == (rule, rounding, DEFAULT_CORRECTION)
        ]
        return f"{median(found):.2f}" if found else "-"

    headings = ["rule", *(_ROUNDING_NAMES.values())]
    return _table(headings, [[rule, *(seconds(rule, rounding) for rounding in _ROUNDING_NAMES)] for rule in rows.rules])


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    ruler = ["---" if heading in ("rule", "rounding", "correction") else "---:" for heading in headings]
    return ["| " + " | ".join(cells) + " |" for cells in (headings, ruler, *lines)]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    parts = [f"{row['kl']:.3g}" if row["kl"] < 0.01 else f"{row['kl']:.4f}", f"{100 * row['agreement']:.2f}"]
    return " · ".join([*parts, *([f"{100 * row['top1']:.2f}"] if "top1" in row else [])])


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.log(values).mean()))


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
        for rounding, name in _ROUNDING_NAMES.items():
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
