"""The pictures of the documentation, from real runs.

In a terminal of 96 columns inside of tmux: the command of docs/index.md, `openvino-eval report demo`, and then

    tmux capture-pane -e -p >pane.txt
    python docs/hooks/screenshots.py pane.txt report.html
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

_FOLDER = Path(__file__).resolve().parents[1] / "images"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_COLOURS = 64


def draw_terminal(pane: str, target: Path) -> None:
    """Writes what a terminal shows as SVG, which loads nothing from elsewhere.

    Args:
        pane: With escape sequences; lines at the end that are empty are left out.
        target: The file.
    """
    text = Text.from_ansi(pane.rstrip().removesuffix("$").rstrip())
    console = Console(record=True, file=io.StringIO(), width=max(map(len, text.plain.splitlines())) + 1)
    console.print(text, soft_wrap=True)
    svg = console.export_svg(title="", theme=DEFAULT_TERMINAL_THEME, unique_id="terminal")
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg).replace("Fira Code, monospace", "monospace")
    target.write_text(svg, encoding="utf-8")


def photograph_report(report: Path, target: Path) -> None:
    """Writes the top of a report, as a wide window shows it, as PNG of few colours.

    Args:
        report: The HTML file.
        target: The file.
    """
    browser_path = next(path for name in _BROWSERS if (path := shutil.which(name)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 690}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached")
        picture = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(_COLOURS).save(target, optimize=True)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pane", type=Path, help="what the terminal shows, with escape sequences")
    parser.add_argument("report", type=Path, help="the report of the same run")
    parsed = parser.parse_args()
    _FOLDER.mkdir(exist_ok=True)
    draw_terminal(parsed.pane.read_text(encoding="utf-8"), _FOLDER / "terminal.svg")
    photograph_report(parsed.report, _FOLDER / "report.png")


if __name__ == "__main__":
    main()
