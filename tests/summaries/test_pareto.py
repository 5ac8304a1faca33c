"""A front for the terminal, as a picture and as a page."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from nncf_mcq.config.output_files import Origin
from nncf_mcq.config.pareto_file import DifferenceReport, IntervalReport, ParetoPoint, ParetoReport
from nncf_mcq.errors import OutputError
from nncf_mcq.summaries.pareto import front_lines, front_table, write_front
from nncf_mcq.summaries.pareto.chart import draw
from nncf_mcq.summaries.pareto.page import render
from nncf_mcq.summaries.pareto.words import quality_heading, quality_text, take_example


def interval(value: float | None, low: float | None, high: float | None) -> IntervalReport:
    return IntervalReport(value=value, low=low, high=high)


def point(size: int, score: float, gain: tuple[float, float] | None = None, **qualities: IntervalReport) -> ParetoPoint:
    return ParetoPoint(
        bytes=size,
        average_bits=size / 1000,
        score=interval(score, 0.9 * score, 1.1 * score),
        predicted_score=score,
        qualities=qualities,
        gain=None if gain is None else DifferenceReport(mean=gain[0], standard_error=gain[1]),
        policy={"weight_bits": {"first": 2, "<second>": 8}, "activation_bits": {}},
    )


def report(**more: Any) -> ParetoReport:
    values: dict[str, Any] = {
        "points": (
            point(2000, 0.5, agreement=interval(0.9, 0.8, 0.95)),
            point(4000, 0.1, (0.4, 0.01), agreement=interval(0.98, 0.91, 1.0)),
            point(8000, 0.05, (0.05, 0.03), agreement=interval(None, None, None)),
        ),
        "dominated": (point(7000, 0.2),),
        "confidence": 0.95,
        "images": 50,
        "evaluations": 12,
        "subject": {},
        "sensitivities": {},
    }
    return ParetoReport(**(values | more))


def test_the_table_has_values_with_their_intervals() -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(front_table(report()))
    text = console.export_text()
    assert "top-1 agreement %" in text
    assert "4.0 kB" in text
    assert "0.1 (0.09 to 0.11)" in text
    assert "98.00 (91.00 to 100.00)" in text
    assert text.splitlines()[-1].rstrip().endswith("-")


def test_lines_say_what_is_dominated_and_what_is_not_clear() -> None:
    lines = list(front_lines(report(), [Path("x.png")]))
    assert "not clearly better than the next smaller one: 8.0 kB" in lines
    assert "dominated, a file that is no larger scores as well: 7.0 kB (0.2)" in lines
    assert "x.png" in lines


def test_qualities_have_names_and_units() -> None:
    assert quality_heading("top1_drop") == "top-1 drop, points"
    assert quality_heading("ratio_drop") == "ratio drop"
    assert quality_heading("kl") == "KL"
    assert quality_text("kl", interval(0.001234, None, 2.0)) == ("0.00123", "? to 2")
    assert quality_text("agreement", interval(0.5, 0.25, 1.0)) == ("50.00", "25.00 to 100.00")
    assert quality_text("top1_drop", interval(-0.5, -1.0, 0.0)) == ("-0.50", "-1.00 to 0.00")


def test_the_example_is_the_command_with_a_size() -> None:
    assert take_example(report()) == 'front.take("4kB").save("quantized")'
    command = "nncf-mcq pareto 'a b.json' --at 3MB -o out --at=5MB"
    found = take_example(report(origin=Origin(config="a", command=command)))
    assert shlex.split(found) == ["nncf-mcq", "pareto", "a b.json", "-o", "out", "--at", "4kB"]


@pytest.mark.parametrize("points", [1, 3])
def test_pictures_of_one_and_of_several_points(points: int) -> None:
    few = report(points=report().points[:points], dominated=())
    image = Image.open(io.BytesIO(draw(few, "png")))
    assert image.width > image.height > 500
    svg = draw(few, "svg").decode()
    assert "top-1 agreement" in svg
    assert "95 % interval" in svg
    assert "dominated" not in svg
    assert svg == draw(few, "svg").decode()
    assert "dominated" in draw(report(), "svg").decode()


def test_the_page_escapes_names_and_marks_gains() -> None:
    page = render(report(origin=Origin(config="<config>", command="nncf-mcq pareto x")))
    assert "<second>" not in page
    assert "&lt;second&gt;: 8 bits" in page
    assert "&lt;config&gt;: size against loss" in page
    assert page.count(">clear<") == page.count(">not clear<") == 1
    assert "nncf-mcq pareto x --at 4kB" in page


def test_files_that_cannot_be_written_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"pareto\.svg: cannot be written: "):
        write_front(report(), tmp_path / "file")
