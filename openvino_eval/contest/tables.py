"""The standings as a table, in Markdown and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Column, Table

from nncf_mcq.metrics import SHARES, metric_name
from openvino_eval.contest.standings import Spread, Standing
from openvino_eval.formats import MISSING, format_percent

_TEXT_COLUMNS = 2

LEGEND = (
    "test score: of the policies returned, on images that no search saw, mean over the seeds, lower is better; to the "
    "best: its difference to the best one's, with the standard error of the paired values of the images. "
    "score: on the search images; best policy within the budget, median and quartiles over the seeds. images: "
    "those that went through quantized models in one search. "
    "to rival: evaluations until a seed reaches the median final score of the best other competitor, median over the "
    "seeds (number of seeds that reach it). top-1, top-1 agreement, KL: of the policies found, on the test images. "
    "time: of one search, without the preparation; own: share of it that is not scoring."
)


def headings(standings: Sequence[Standing], checkpoints: Sequence[int]) -> list[str]:
    """The table's headings.

    Args:
        standings: All of them.
        checkpoints: Numbers of evaluations at which scores are shown.
    """
    metrics = [metric_name(name) for name in _metrics(standings)]
    scores = [f"score after {count}" for count in checkpoints]
    before = ["method", "arm", "test score", "to the best", "seeds"]
    return [*before, *scores, "final", "evaluations", "images", "to rival", *metrics, "time", "own"]


def rows(standings: Sequence[Standing], checkpoints: Sequence[int]) -> list[list[str]]:
    """The table's rows, best first.

    Args:
        standings: All of them.
        checkpoints: Numbers of evaluations at which scores are shown.
    """
    metrics = _metrics(standings)
    best_first = in_order(standings)
    return [
        [
            standing.competitor.method,
            str(standing.competitor.arm),
            _score(standing.test_score),
            _difference(standing, best_first[0]),
            str(standing.seeds) if standing.complete else f"{len(standing.records)} of {standing.seeds}",
            *(_spread(standing.score_after(count)) for count in checkpoints),
            _score(standing.final.median),
            f"{standing.evaluations:g}",
            f"{standing.image_passes:g}" if math.isfinite(standing.image_passes) else MISSING,
            _to_rival(standing),
            *(_metric(name, standing.report.get(name)) for name in metrics),
            _seconds(standing.wall_seconds),
            f"{100 * standing.sampler_share:.1f} %",
        ]
        for standing in best_first
    ]


def markdown(standings: Sequence[Standing], checkpoints: Sequence[int], title: str, text: str) -> str:
    """The table as a Markdown document.

    Args:
        standings: All of them.
        checkpoints: Numbers of evaluations at which scores are shown.
        title: The heading.
        text: Shown below it.
    """
    names = headings(standings, checkpoints)
    alignments = ["---" if index < _TEXT_COLUMNS else "---:" for index in range(len(names))]
    lines = [names, alignments, *rows(standings, checkpoints)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"# {title}", text, table, LEGEND, "![Best score by evaluations](curves.svg)"]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal_table(standings: Sequence[Standing], checkpoints: Sequence[int], title: str) -> Table:
    """The table for the terminal.

    Args:
        standings: All of them.
        checkpoints: Numbers of evaluations at which scores are shown.
        title: Above it.
    """
    columns = [
        Column(name, justify="left" if index < _TEXT_COLUMNS else "right")
        for index, name in enumerate(headings(standings, checkpoints))
    ]
    table = Table(*columns, title=title, caption=LEGEND, title_justify="left", caption_justify="left")
    for row in rows(standings, checkpoints):
        table.add_row(*row)
    return table


def in_order(standings: Sequence[Standing]) -> list[Standing]:
    """The best on the test images first; where they are not measured, on the search images."""
    return sorted(standings, key=lambda standing: (standing.test_score, standing.final.median))


def _difference(standing: Standing, best: Standing) -> str:
    if standing is best:
        return MISSING
    found = standing.test_difference(best)
    return MISSING if found is None else f"{found.mean:+.2g} ± {found.error:.1g}"


def _metrics(standings: Sequence[Standing]) -> list[str]:
    return list(dict.fromkeys(name for standing in standings for name in standing.report))


def _score(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else MISSING


def _spread(spread: Spread) -> str:
    if spread.low == spread.high or not math.isfinite(spread.median):
        return _score(spread.median)
    return f"{_score(spread.median)} [{_score(spread.low)}, {_score(spread.high)}]"


def _metric(name: str, spread: Spread | None) -> str:
    if spread is None:
        return MISSING
    return format_percent(spread.median) if name in SHARES else _score(spread.median)


def _to_rival(standing: Standing) -> str:
    if standing.rival is None:
        return MISSING
    median = Spread.of(standing.evaluations_to_rival).median
    count = f"{median:.0f}" if math.isfinite(median) else MISSING
    return f"{count} ({standing.seeds_reaching}/{len(standing.records)})"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"
