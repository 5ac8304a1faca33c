"""What the points of a front are called, and their values as text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable

from nncf_mcq.config.goal import DROP
from nncf_mcq.config.pareto_file import IntervalReport, ParetoPoint, ParetoReport
from nncf_mcq.metrics.names import SHARES, metric_name

_CLEAR = 2.0
"""Standard errors that a gain has to exceed to be clear."""


def quality_names(report: ParetoReport) -> list[str]:
    """The qualities that its points have, each once."""
    return list(dict.fromkeys(name for point in report.points for name in point.qualities))


def quality_heading(name: str) -> str:
    """A quality and its unit.

    Args:
        name: `agreement`, `kl` or `METRIC_drop`.
    """
    metric = name.removesuffix(DROP)
    if metric != name:
        return f"{metric_name(metric)} drop{', points' if metric in SHARES else ''}"
    return f"{metric_name(name)}{' %' if name in SHARES else ''}"


def in_its_unit(name: str, value: float) -> float:
    """A quality's value in the unit of its heading: shares in percent."""
    return 100 * value if name in SHARES else value


def quality_text(name: str, found: IntervalReport | None) -> tuple[str, str]:
    """A quality's value and its interval."""
    form = ".2f" if name in SHARES or name.removesuffix(DROP) in SHARES else ".3g"
    if found is None or found.value is None:
        return "-", ""
    low, high = ("?" if end is None else f"{in_its_unit(name, end):{form}}" for end in (found.low, found.high))
    return f"{in_its_unit(name, found.value):{form}}", f"{low} to {high}"


def score_text(found: IntervalReport) -> tuple[str, str]:
    """A score and its interval."""
    return quality_text("", found)


def size_text(size: int) -> str:
    """Bytes of a .bin, as in the table of a result."""
    return f"{size / 1000:,.1f} kB"


def take_example(report: ParetoReport) -> str:
    """How a model in the middle of the front is asked for: the command, or in Python."""
    size = f"{math.ceil(report.points[len(report.points) // 2].bytes / 1000)}kB"
    if report.origin is None:
        return f'front.take("{size}").save("quantized")'
    words = shlex.split(report.origin.command)
    # Of a command that took one already.
    taken = [word for before, word in zip(["", *words], words, strict=False) if "--at" not in (before, word)]
    return shlex.join([*(word for word in taken if not word.startswith("--at=")), "--at", size])


def unclear(points: Iterable[ParetoPoint]) -> list[ParetoPoint]:
    """Those that are not clearly better than the next smaller one on the front."""
    return [
        point
        for point in points
        if point.gain is not None
        and (point.gain.standard_error is None or point.gain.mean < _CLEAR * point.gain.standard_error)
    ]
