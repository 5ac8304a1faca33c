"""The files of a front beside its pareto.json: the picture and the page."""

from __future__ import annotations

from pathlib import Path

from nncf_mcq.config.pareto_file import ParetoReport
from nncf_mcq.errors import OutputError
from nncf_mcq.summaries.pareto.chart import draw
from nncf_mcq.summaries.pareto.page import render
from nncf_mcq.utils.files import write_bytes_atomically

CHART_NAME = "pareto"
PAGE_FILE = "report.html"


def write_front(report: ParetoReport, directory: Path) -> list[Path]:
    """Writes pareto.svg, pareto.png and report.html.

    Args:
        report: The front.
        directory: Where to; made if it is missing.

    Returns:
        Their paths.

    Raises:
        OutputError: One of them cannot be written.
    """
    contents = {
        f"{CHART_NAME}.svg": draw(report, "svg"),
        f"{CHART_NAME}.png": draw(report, "png"),
        PAGE_FILE: render(report).encode(),
    }
    files = [directory / name for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        try:
            write_bytes_atomically(file, content)
        except OSError as error:
            raise OutputError(f"{file}: cannot be written: {error.strerror or error}") from error
    return files
