"""The report as a reader meets it: a real run and a real contest, in a real browser."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from nncf_mcq.job import Job
from openvino_eval.cli import main
from tests.openvino_eval.contests import write_config

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CONTEST = ["--methods", "ilp,random", "--evaluations", "10", "--seeds", "2", "--arms", "warm"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    config = write_config(folder)
    for name, precision in (("ilp", None), ("uniform", {"type": "uniform", "bits": 4})):
        overrides = {} if precision is None else {"compression.initializer.precision": precision}
        range_rule = {"compression.initializer.range": "mixed_clipping"}
        Job.read(config, {**overrides, **range_rule}).run().save(folder / name)
    run("compare", str(config), *CONTEST, "--output", str(folder / "contest"))
    run("report", *(str(folder / name) for name in ("ilp", "uniform", "contest")), "-o", str(folder / "report.html"))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"needs one of the browsers {', '.join(BROWSERS)}")
    with sync_playwright() as driver:
        # Containers run tests as root, which the sandbox refuses.
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


def run(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["openvino-eval", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
    assert not caught.value.code


def open_report(page: Page, report: Path) -> list[str]:
    """Opens it and waits for the plots; returns what the console and the network saw."""
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("request", lambda request: seen.append(f"request: {request.url}"))
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    seen.remove(f"request: {report.as_uri()}")
    return seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_plot_is_drawn_and_nothing_else_happens(browser: Browser, report: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    seen = open_report(page, report)
    plots = page.locator(".plot")
    assert plots.count() >= 9
    assert page.locator(".plot .main-svg").count() >= plots.count()
    assert page.locator(".plot .waiting").count() == 0
    assert page.locator("h1").inner_text() == "Quantization report"
    for heading in ("Top-1 against size", "Search curves: contest", "Slowest layers", "Clipping rule of every layer"):
        assert page.get_by_role("heading", name=heading).count() >= 1
    assert page.locator(".plot .textpoint").count() >= 2
    # The heat map, and bars of both subplots.
    assert page.locator(".plot .heatmaplayer .hm").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen == []
    page.close()


def test_a_layer_is_chosen_with_the_keyboard(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    open_report(page, report)
    choice = page.locator("select").first
    choice.focus()
    before = page.locator(".pick .quiet").first.inner_text()
    bars = page.locator(".plot:has(+ script):has(.shapelayer)").first
    page.keyboard.press("ArrowUp" if choice.evaluate("item => item.selectedIndex > 0") else "ArrowDown")
    assert page.locator(".pick .quiet").first.inner_text() != before
    assert bars.count() == 1
    page.close()


def test_on_a_phone_the_models_are_a_list_without_scrolling(browser: Browser, report: Path) -> None:
    page = browser.new_page(viewport={"width": 420, "height": 900}, has_touch=True, is_mobile=True)
    open_report(page, report)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    table = page.locator("table.models")
    assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")
    assert not table.locator("thead").is_visible()
    label = table.locator("td").first.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert label == '"Top-1"'
    assert page.locator(".modebar").count() == 0
    # Names of models, for which there is no room.
    assert page.locator(".plot .textpoint").count() == 0
    page.close()


def test_on_paper_everything_is_open_and_light(browser: Browser, report: Path, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    open_report(page, report)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 35, 43)"
    assert not page.locator("nav").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    page.close()


def test_without_scripts_the_tables_tell_it(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert not page.locator(".plot").first.is_visible()
    page.get_by_text("All 3 layers as a table").first.click()
    assert page.get_by_role("cell", name="second", exact=True).first.is_visible()
    context.close()
