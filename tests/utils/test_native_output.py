from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import ctypes
import sys

from nncf_mcq.utils.native_output import quiet_output

native = ctypes.CDLL(None)
native.printf(b"before\\n")
with quiet_output():
    native.printf(b"dropped\\n")
    print("dropped, too")
native.printf(b"after\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the C library has another name")
def test_what_native_code_has_not_written_yet_is_dropped_too() -> None:
    """C keeps what it prints to a pipe until the process ends, when nothing is redirected any more."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "before\nafter\n"
