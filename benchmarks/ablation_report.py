"""The rows of the ablation as markdown tables, and findings in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ablation_cases import (
    ADAROUND,
    COMPENSATED,
    CORRECTION_ROUNDINGS,
    CORRECTION_RULES,
    CORRECTIONS,
    DEFAULT_CORRECTION,
    DESCENT,
    MIXED,
    NEAREST,
    ROUNDING_NAMES,
    ROUNDINGS,
    SEQUENTIAL,
    Case,
    Granularity,
)
from benchmarks.ablation_chart import draw
from benchmarks.ablation_rows import Rows
from nncf_mcq.utils.files import write_text_atomically

REPORT_FILE, CHART_FILE = "ablation.md", "ablation.svg"
_NEGLIGIBLE = 0.01
"""A KL ratio this close to 1 neither helps nor hurts."""


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
    lines = ["# Ablation at uniform bit-widths", ""]
    if setup:
        lines += [
            f"{_short(data['config']['model'])}: {setup['layers']} layers, {setup['weights']:,} weights; "
            f"{setup['calibration_images']} calibration and {setup['report_images']} test images; "
            f"{setup['activation_bits']}-bit activations; threads: {setup['threads']} of {setup['cpus']}.",
            "",
        ]
    if "top1" in references.get("float", {}):
        lines += [f"- float: top-1 {100 * references['float']['top1']:.2f} %"]
    if int8:
        lines += [f"- NNCF INT8 (KL · agreement % · top-1 %): {_cell(int8)}"]
    lines += [
        "",
        "Cells: KL to the float outputs · top-1 agreement with the float model in % · top-1 in %, on the test images.",
    ]
    lines += ["", "## Findings", "", *(f"- {line}" for line in findings(rows)), ""]
    if rows.failed:
        lines += ["Not measured:", "", *(f"- {key}: {error}" for key, error in rows.failed.items()), ""]
    for granularity in rows.granularities:
        lines += [
            f"## Rules, one scale per {granularity}",
            "",
            "Correction: bias and energy gain. Bold: lowest KL of the single rules.",
            "",
        ]
        for rounding in ROUNDINGS:
            lines += [f"### {ROUNDING_NAMES[rounding]}", "", *_rule_table(rows, granularity, rounding), ""]
    lines += _roundings_section(rows)
    for granularity in rows.granularities:
        lines += [f"## Corrections, one scale per {granularity}", "", *_correction_table(rows, granularity), ""]
    lines += [
        "## Seconds",
        "",
        "Median over bit-widths and granularities, for the table of one bit-width; without the Fisher information.",
        "",
    ]
    lines += [*_seconds_table(rows), ""]
    return "\n".join(lines)


def _short(model: str) -> str:
    """The model's name without the folders that it happens to lie in."""
    return "/".join(model.split("/")[-2:])


def findings(rows: Rows) -> list[str]:
    """Findings, one sentence each: ratios of KL, of which less than 1 is a gain."""
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
                f"{MIXED} against the best single rule at each bit-width, per {granularity}, {DESCENT}: KL ratio "
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
        name = f"{ROUNDING_NAMES[rounding]} against {ROUNDING_NAMES[other]} ({MIXED}, per channel)"
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
        f"{MIXED} against {best}, the best rule over all bit-widths, per channel, {DESCENT}: "
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
        for rounding, name in ROUNDING_NAMES.items()
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

    headings = ["rule", *(ROUNDING_NAMES.values())]
    return _table(headings, [[rule, *(seconds(rule, rounding) for rounding in ROUNDING_NAMES)] for rule in rows.rules])


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
