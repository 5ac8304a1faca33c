"""`nncf-mcq pareto` as a user meets it: a front, then a model of a size from it."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nncf_mcq.config.pareto_file import ParetoReport
from nncf_mcq.utils.documents import read_document
from nncf_mcq.utils.output_folder import LOCK_FILE
from tests import commands

OVERRIDES = [
    "dataset.full_root=null",
    "dataset.split.calibration=16",
    "dataset.split.search=48",
    "dataset.split.report=64",
    "compression.weights.bits=[2, 4, 8]",
    "compression.initializer.range=max",
    "compression.correction.rounding=nearest",
    "compression.correction.sequential=false",
    'compression.initializer.precision={"type": "ilp", "measured_widths": 1, "goal": {"agreement": 0.9}}',
]
SMALL = [part for override in OVERRIDES for part in ("--set", override)]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("pareto", "fashion_mnist", *SMALL, *arguments)


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nncf_mcq.cli", "pareto", "fashion_mnist", *SMALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "out"
    done = run("-o", str(folder), "--points", "5")
    assert done.returncode == 0, done.stderr
    report = read_document(folder / "pareto.json", ParetoReport)
    for point in report.points:
        assert f"{point.bytes / 1000:,.1f} kB" in done.stdout
    assert "score: distance from the float model on 48 search images" in done.stdout
    assert "top-1 drop, points" in done.stdout
    assert "next, for the best model of any size: nncf-mcq pareto fashion_mnist" in done.stdout
    assert {path.name for path in folder.iterdir()} == {
        "pareto.json",
        "pareto.png",
        "pareto.svg",
        "report.html",
        "study.journal",
        LOCK_FILE,
    }
    return folder


class Page(HTMLParser):
    """Tags and whatever could be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_stands_alone_and_holds_all_points(folder: Path) -> None:
    text, page = (folder / "report.html").read_text(), Page()
    page.feed(text)
    assert all(reference.startswith("#") for reference in page.references), page.references
    assert "script" not in page.tags
    assert "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"" in text
    report = read_document(folder / "pareto.json", ParetoReport)
    for point in (*report.points, *report.dominated):
        assert f"{point.bytes / 1000:,.1f} kB" in text
    layers = report.points[0].policy["weight_bits"]
    assert all(f'title="{layer}: {bits} bits"' in text for layer, bits in layers.items())
    # The picture follows the dark form of the page.
    picture = text[text.index("<svg") : text.index("</svg>")]
    assert "var(--accent)" in picture
    assert "#ffffff" not in picture


def test_a_size_is_taken_without_another_search(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("pareto.json", "report.html")}
    report = read_document(folder / "pareto.json", ParetoReport)
    size = (report.points[1].bytes + report.points[2].bytes) / 2000
    done = run("-o", str(folder), "--at", f"{size:.3f}kB", "--json")
    assert done.returncode == 0, done.stderr
    assert "sensitivities" not in done.stderr
    printed = json.loads(done.stdout)
    assert printed.pop("model") == str(folder / "model.xml")
    written = json.loads((folder / "result.json").read_text())
    # Relative to the file.
    assert written["search"].pop("storage")["location"] == "study.journal"
    assert printed["search"].pop("storage")["location"] == str(folder / "study.journal")
    assert printed == written
    assert printed["verified"]
    assert printed["metrics"]["quantized"]["top1"] > 0.3
    assert printed["origin"]["command"].endswith(" --json")
    assert 1000 * (size - 6) < (folder / "model.bin").stat().st_size <= 1000 * size
    assert {name: (folder / name).read_bytes() for name in before} == before
    again = run("-o", str(folder), "--at", "8bits")
    assert f"front: {folder / 'pareto.json'}, found before" in again.stdout
    assert f"IR: {folder / 'model.xml'}" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "5 apples"], "error: --at: found '5 apples', allowed: a size of the .bin such as 2.5MB, 900kB"),
        (["--at", "20kB"], "error: no policy is as small as 20kB: the smallest file has "),
    ],
    ids=["no size", "too small"],
)
def test_sizes_that_cannot_be(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run("-o", str(tmp_path / "out"), *arguments, "--quiet")
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "pareto.json").exists()


def test_a_broken_front_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pareto.json").write_text('{"points": [')
    done = run("-o", str(tmp_path), "--at", "1MB", "--quiet")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'pareto.json'}: Invalid JSON")
    assert done.stderr.count("\n") == 1


def test_json_and_nothing_else_on_standard_output(folder: Path, tmp_path: Path) -> None:
    done = run_process("-o", str(tmp_path), "--points", "2", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads((tmp_path / "pareto.json").read_text())
    assert len(json.loads(done.stdout)["points"]) <= 2
