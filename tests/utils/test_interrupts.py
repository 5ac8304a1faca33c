from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nncf_mcq.utils.interrupts import (
    SAME_REQUEST_SECONDS,
    Terminated,
    is_end_requested,
    stoppable,
    uninterrupted,
)


def test_ctrl_c_comes_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("never")
    assert done == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_waits_in_the_block_can_ask_for_it() -> None:
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        assert not is_end_requested()
        signal.raise_signal(signal.SIGINT)
        assert is_end_requested()
    assert not is_end_requested()


def test_a_command_that_was_asked_to_end_knows_it_to_its_end() -> None:
    with stoppable():
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while not is_end_requested():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not is_end_requested()


def test_an_error_of_the_block_is_passed_on() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), uninterrupted():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    errors = []

    def run() -> None:
        try:
            with uninterrupted():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_is_an_interrupt_that_can_be_put_off() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with stoppable() as ending:
        assert ending.exit_code == 130
        with pytest.raises(Terminated), uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            # As `timeout` does, which signals a process and its group.
            signal.raise_signal(signal.SIGTERM)
            done.append("to the end")
        assert ending.exit_code == 128 + signal.SIGTERM
    assert done == ["to the end"]
    assert signal.getsignal(signal.SIGTERM) is before


BUSY = """
import hashlib, sys, time
from nncf_mcq.utils.interrupts import stoppable, uninterrupted

with stoppable(), uninterrupted():
    print("ready", flush=True)
    if sys.argv[1] == "python":
        time.sleep(60)
    else:
        # One call of a library that looks at no signal.
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.mark.parametrize(("kind", "first"), [("python", signal.SIGINT), ("library", signal.SIGTERM)])
def test_the_second_signal_ends_at_once(kind: str, first: signal.Signals, project_root: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", BUSY, kind], cwd=project_root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(first)
    time.sleep(2 * SAME_REQUEST_SECONDS)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 128 + signal.SIGTERM
    process.stdout.close()


SIGNAL_AFTER_MODELS = """
import signal
import subprocess
import sys
from nncf_mcq.model.inference import compile_model
from tests.models import matmul_model

model = matmul_model((1, 8), (8, 4))
compiled = compile_model(model, 1)
# As in a loop: the first model is freed while the second lives.
compiled = compile_model(model, 1)
del compiled
signal.signal(signal.SIGINT, lambda number, frame: print("handled"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_handled_after_models_came_and_went(project_root: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", SIGNAL_AFTER_MODELS], cwd=project_root, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "handled\n"), found.stderr
