"""A front for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from nncf_mcq.config.pareto_file import ParetoPoint, ParetoReport
from nncf_mcq.summaries.pareto.words import (
    quality_heading,
    quality_names,
    quality_text,
    score_text,
    size_text,
    take_example,
    unclear,
)


def front_table(report: ParetoReport) -> Table:
    """The points of the front, the smallest first: size, bits, and what the search images tell with its interval."""
    names = quality_names(report)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False, caption_justify="left")
    for heading in ("weights, .bin", "bits per weight", "score", *map(quality_heading, names)):
        table.add_column(heading, justify="right")
    for point in report.points:
        values = [score_text(point.score), *(quality_text(name, point.qualities.get(name)) for name in names)]
        table.add_row(
            size_text(point.bytes),
            f"{point.average_bits:.2f}",
            *(f"{value} ({interval})" if interval else value for value, interval in values),
        )
    return table


def front_lines(report: ParetoReport, files: Sequence[Path]) -> Iterator[str]:
    """What the table means, what is not on the front, and where everything is.

    Args:
        report: The front.
        files: That were written.
    """
    yield (
        f"score: distance from the float model on {report.images} search images, lower is better; "
        f"in parentheses: {100 * report.confidence:g} % intervals"
    )
    if found := unclear(report.points):
        yield f"not clearly better than the next smaller one: {', '.join(size_text(point.bytes) for point in found)}"
    if report.dominated:
        yield f"dominated, a file that is no larger scores as well: {', '.join(map(_dominated, report.dominated))}"
    if report.dataset.remark:
        yield f"note: {report.dataset.remark}"
    if report.ended_by is not None:
        yield "warning: the search was interrupted, and sizes are missing: repeat the command to continue"
    seconds = report.timing.seconds
    slowest = ", ".join(
        f"{stage} {value:.1f}" for stage, value in sorted(seconds.items(), key=lambda item: -item[1])[:3]
    )
    yield f"search: ilp, {report.evaluations} policies scored"
    yield f"time: {sum(seconds.values()):.1f} s ({slowest})"
    yield from (str(file) for file in files)
    yield f"next, for the best model of any size: {take_example(report)}"


def _dominated(point: ParetoPoint) -> str:
    return f"{size_text(point.bytes)} ({score_text(point.score)[0]})"
