"""The virtual environment in which AutoQ runs: NNCF 2 and NNCF 3 cannot be installed side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nncf_mcq.errors import NncfMcqError
from nncf_mcq.utils.files import write_text_atomically

FOLDER = Path(__file__).resolve().parents[2] / "build" / "autoq-env"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

_INSTALLED = "installed-requirements.txt"
_LOG = "install.log"
# Without a compiler NNCF falls back to slower quantizers, with a warning only: AutoQ would be timed with a handicap.
_COMPILE = """
from nncf.torch.quantization.extensions import QuantizedFunctionsCPULoader
from nncf.torch.quantization.reference import ReferenceQuantizedFunctions
if QuantizedFunctionsCPULoader.load() is ReferenceQuantizedFunctions:
    raise SystemExit("NNCF's C++ quantizers cannot be compiled: is there a C++ compiler?")
"""


class AutoqError(NncfMcqError):
    """AutoQ cannot be run."""


def prepare_environment(report: Callable[[str], None], folder: Path = FOLDER) -> Path:
    """Makes the environment, unless it is there already with the same requirements.

    Args:
        report: Called with a line of text when there is something to wait for.
        folder: Where it is, or goes.

    Returns:
        Its Python interpreter.

    Raises:
        AutoqError: It cannot be made.
    """
    python, installed = folder / "bin" / "python", folder / _INSTALLED
    requirements = REQUIREMENTS.read_text(encoding="utf-8")
    if python.exists() and installed.is_file() and installed.read_text(encoding="utf-8") == requirements:
        return python
    report(f"making the environment of AutoQ in {folder}: this takes minutes, once")
    folder.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], folder)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    _run(install, folder)
    report("compiling NNCF's quantizers: about a minute")
    _run([str(python), "-c", _COMPILE], folder)
    write_text_atomically(installed, requirements)
    return python


def variables(folder: Path = FOLDER) -> dict[str, str]:
    """Environment variables of a process in the environment.

    Args:
        folder: Where the environment is.
    """
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    return inherited | {
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath)]),
        # Kept with the environment, so that it is compiled once.
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
        # It compiles for longer than NNCF waits by default.
        "NNCF_EXTENSION_LOAD_TIMEOUT": "0",
        # Without it NNCF 2.19 refuses `create_compressed_model`.
        "NNCF_TORCH_LEGACY_TRACING": "1",
        # A benchmark reports its usage to nobody.
        "CI": "true",
        "NNCF_CI": "1",
    }


def _run(command: Sequence[str], folder: Path) -> None:
    with (folder.parent / f"{folder.name}-{_LOG}").open("a", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                command, env=variables(folder), stdout=log, stderr=subprocess.PIPE, text=True, check=False
            )
        except OSError as error:
            raise AutoqError(f"the environment of AutoQ cannot be made: {error}") from error
        log.write(done.stderr)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AutoqError(f"the environment of AutoQ cannot be made: {reason} (all of it: {log.name})")
