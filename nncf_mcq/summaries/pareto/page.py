"""A front as a page of its own, in the style of `openvino-eval report`."""

from __future__ import annotations

from collections.abc import Sequence

from nncf_mcq.config.pareto_file import ParetoPoint, ParetoReport
from nncf_mcq.policy import Policy
from nncf_mcq.summaries.pareto.chart import draw_for_page
from nncf_mcq.summaries.pareto.words import (
    quality_heading,
    quality_names,
    quality_text,
    score_text,
    size_text,
    take_example,
    unclear,
)
from nncf_mcq.utils.pages import page_environment


def render(report: ParetoReport) -> str:
    """A whole HTML document without references to other files.

    Args:
        report: The front.
    """
    names = quality_names(report)
    doubtful = {point.bytes for point in unclear(report.points)}
    seconds = report.timing.seconds
    return (
        page_environment("nncf_mcq")
        .get_template("pareto.html.j2")
        .render(
            title="File size against loss" if report.origin is None else f"{report.origin.config}: size against loss",
            lead=_lead(report),
            picture=draw_for_page(report),
            headings=[quality_heading(name) for name in names],
            points=[_row(point, names) | {"is_clear": point.bytes not in doubtful} for point in report.points],
            dominated=[_row(point, names) for point in report.dominated],
            confidence=f"{100 * report.confidence:g} %",
            images=report.images,
            largest=max(point.bytes for point in report.points),
            strips=[_strip(point) for point in report.points],
            widths=sorted({bits for point in report.points for _, bits in _bits(point)}),
            example=take_example(report),
            facts=[
                ("images", report.dataset.source or "given in Python"),
                ("policies scored", str(report.evaluations)),
                *((stage, f"{value:.1f} s") for stage, value in seconds.items()),
            ],
            remark=report.dataset.remark,
            versions=list(report.versions.items()),
        )
    )


def _lead(report: ParetoReport) -> str:
    smallest, largest = report.points[0], report.points[-1]
    if len(report.points) == 1:
        return f"One policy: {size_text(smallest.bytes)} with {smallest.average_bits:.2f} bits per weight."
    return (
        f"{len(report.points)} policies of which no smaller one scores as well: from {size_text(smallest.bytes)} with "
        f"{smallest.average_bits:.2f} bits per weight to {size_text(largest.bytes)} with {largest.average_bits:.2f}."
    )


def _row(point: ParetoPoint, names: Sequence[str]) -> dict[str, object]:
    gain = point.gain
    error = None if gain is None else gain.standard_error
    return {
        "bytes": point.bytes,
        "size": size_text(point.bytes),
        "bits": f"{point.average_bits:.2f}",
        "values": [score_text(point.score), *(quality_text(name, point.qualities.get(name)) for name in names)],
        "gain": "" if gain is None else f"{gain.mean:.2g}" + ("" if error is None else f" ± {error:.1g}"),
    }


def _bits(point: ParetoPoint) -> list[tuple[str, int]]:
    return list(Policy.from_dict(point.policy).weight_bits.items())


def _strip(point: ParetoPoint) -> dict[str, object]:
    return {"size": size_text(point.bytes), "layers": _bits(point)}
