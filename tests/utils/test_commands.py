"""How commands begin and end where a terminal, a pipe or a disk does not do what it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq.utils.commands import FAILED, failures_as_messages

ROOT = Path(__file__).resolve().parents[2]
FULL = Path("/dev/full")
COMMANDS = {
    "nncf_mcq.entry": ("recipes",),
    "openvino_eval.entry": ("--help",),
}


IMPORTING = """
import os, signal, types
import nncf_mcq.utils.commands as commands

def import_instead(name):
    {text}

commands.importlib.import_module = import_instead
"""


def start(module: str, *arguments: str, importing: str = "", **options: Any) -> subprocess.Popen[str]:
    """A command whose module is imported by other statements."""
    program = IMPORTING.format(text=importing) if importing else ""
    program += f"import sys\nsys.argv = ['command', *sys.argv[1:]]\nfrom {module} import main\nmain()"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, text=True, **(streams | options))


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("module", COMMANDS)
def test_standard_output_on_a_full_disk_is_one_message(module: str) -> None:
    with FULL.open("w") as full:
        process = start(module, *COMMANDS[module], stdout=full)
        _, err = process.communicate()
    assert (process.returncode, err) == (FAILED, "error: No space left on device\n")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_standard_error_is_no_reason_to_end() -> None:
    importing = "return types.SimpleNamespace(main=lambda: print(print('lost', file=sys.stderr, flush=True)))"
    with FULL.open("w") as full:
        process = start("nncf_mcq.entry", importing=importing, stderr=full)
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, "None\n")


def test_what_standard_output_has_no_characters_for_is_escaped() -> None:
    importing = "return types.SimpleNamespace(main=lambda: print('gr\u00f6\u00dfe \\udcff'))"
    process = start("nncf_mcq.entry", importing=importing, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "gr\\xf6\\xdfe \\udcff\n", "")


@pytest.mark.parametrize("module", COMMANDS)
def test_ctrl_c_while_a_command_is_imported(module: str) -> None:
    importing = "signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT)"
    process = start(module, importing=importing)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (128 + signal.SIGINT, "", "interrupted\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no draws"), "error: no draws"),
        (OSError(28, "No space left on device", "a.bin"), "error: a.bin: No space left on device"),
        (OSError("odd"), "error: odd"),
        (MemoryError(), "error: there is not enough memory (MemoryError)"),
        (
            ModuleNotFoundError("No module", name="torch.nn"),
            "error: torch is not installed; `pip install nncf-mcq` installs all that quantization needs",
        ),
    ],
)
def test_failures_are_one_message(error: Exception, message: str) -> None:
    shown: list[str] = []
    with pytest.raises(SystemExit) as caught, failures_as_messages(shown.append, ValueError):
        raise error
    assert (caught.value.code, shown) == (FAILED, [message])


@pytest.mark.parametrize("error", [KeyError("x"), ModuleNotFoundError("No module", name="own")])
def test_mistakes_of_the_program_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), failures_as_messages(print, ValueError):
        raise error
