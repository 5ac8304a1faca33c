from __future__ import annotations

import io
import itertools
import logging
import re
import time

import pytest
from rich.console import Console
from rich.progress import Progress

from nncf_mcq.utils.console_progress import ConsoleProgress, console_stage
from nncf_mcq.utils.library_logs import silence_cuda_notice


def printed(*, terminal: bool, quiet: bool = False, steps: int = 4) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with ConsoleProgress(console, quiet=quiet) as progress:
        for stage in ("statistics", "precision search"):
            progress.start(stage, 4)
            for done in range(1, steps + 1):
                progress.update(done, 4)
            progress.finish()
    return stream.getvalue()


def _plain(progress: Progress) -> str:
    """What a terminal of 80 columns shows."""
    stream = io.StringIO()
    Console(file=stream, width=80).print(progress.make_tasks_table(progress.tasks))
    return stream.getvalue().rstrip()


def test_a_log_gets_a_line_a_stage_and_some_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 40.0, 90.0, 95.0, 100.0, 0.0, 1.0, 2.0, 3.0, 4.0, 4.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert printed(terminal=False).splitlines() == [
        "statistics: 2 of 4, 40.0 s, about 40.0 s left",
        "statistics: 3 of 4, 1 min 30 s, about 30.0 s left",
        "statistics: 1 min 40 s",
        "precision search: 4.0 s",
    ]


def test_a_stage_that_ends_early_says_how_far_it_came() -> None:
    assert re.fullmatch(
        r"statistics: 1 of 4, \d\.\d s\nprecision search: 1 of 4, \d\.\d s\n", printed(terminal=False, steps=1)
    )
    assert re.search(r"\d s\nprecision search: \d\.\d s\n$", printed(terminal=False, steps=0))
    stream = io.StringIO()
    with ConsoleProgress(Console(file=stream)) as progress:
        progress.start("statistics", 4)
        progress.update(1, 4)
        progress.finish()
        progress.start("report", 4)
        progress.finish()
    assert re.search(r"1 of 4, \d\.\d s\nreport: \d\.\d s\n$", stream.getvalue())
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with ConsoleProgress(console) as progress:
        progress.start("statistics", 40)
        for done in range(1, 11):
            progress.update(done, 40)
        progress.finish()
        assert progress._bars is not None
        assert re.search(r"10 of 40 \d:\d\d:\d\d$", _plain(progress._bars.progress))


def test_a_terminal_gets_bars_with_both_times() -> None:
    text = printed(terminal=True)
    assert "statistics" in text
    assert "4 of 4" in text


def test_a_bar_tells_what_is_left_while_it_lasts_and_no_count_of_one() -> None:
    clock = itertools.count()
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    console.get_time = lambda: float(next(clock))
    with ConsoleProgress(console) as progress:
        progress.start("layers", 1)
        progress.finish()
        progress.start("statistics", 40)
        for done in range(1, 40):
            progress.update(done, 40)
        assert progress._bars is not None
        running = _plain(progress._bars.progress)
        progress.finish()
        done_at_last = _plain(progress._bars.progress)
    layers, statistics = running.splitlines()
    assert "of 1" not in layers
    assert re.search(r"━+╸? +39 of 40 \d:\d\d:\d\d, \d:\d\d:\d\d left$", statistics)
    assert "left" not in layers
    assert "left" not in done_at_last


def test_quiet_is_quiet() -> None:
    assert printed(terminal=True, quiet=True) == printed(terminal=False, quiet=True) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_single_stage_is_a_bar_on_a_terminal_and_nothing_elsewhere(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(terminal)))
    with console_stage("inference", 2) as advance:
        advance()
        advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("inference" in captured.err and "2 of 2" in captured.err) == terminal
    assert (captured.err == "") != terminal


def test_only_the_notice_about_cuda_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch.utils.cpp_extension")
    try:
        silence_cuda_notice()
        silence_cuda_notice()
        assert len(logger.filters) == 1
        logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/usr/local")
        logger.warning("something else")
        assert caplog.messages == ["something else"]
    finally:
        logger.filters.clear()
