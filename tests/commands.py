"""Commands in this process and in processes of their own, on the small network and a folder of images."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nncf_mcq.cli import main
from tests.warm_processes import WarmProcess

SECONDS = 240
"""After which a command hangs."""


def write_config(folder: Path, precision: Mapping[str, Any], **compression: Any) -> Path:
    """The configuration of the small network on random images, at an average of 4 bits."""
    images = folder / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    for index in range(40):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(images / f"{index:02}.png")
    data = {
        "model": f"{Path(__file__).resolve().parent / 'models.py'}:small_network",
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "dataset": {
            "type": "image_folder",
            "root": "images",
            "preprocessing": {"scale": "0-1", "mean": [0.5] * 3, "std": [0.25] * 3},
            "split": {"calibration": 16, "search": 16, "report": 8},
        },
        "compression": {
            "initializer": {"precision": {"budget": {"weight_size": {"average_bits": 4}}, **precision}},
            **compression,
        },
        "runtime": {"threads": 1},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(data))
    return path


def run(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `nncf-mcq` in this process, which has imported everything already: that is most of a short command's time.

    Args:
        arguments: Of the command line.
        folder: Where it runs; where the tests run by default.
    """
    command = ["nncf-mcq", *map(str, arguments)]
    out, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", command)
        if folder is not None:
            patch.chdir(folder)
        try:
            main()
            code: Any = 0
        except SystemExit as ending:
            code = ending.code or 0
    return subprocess.CompletedProcess(command, code, out.getvalue(), errors.getvalue())


def start(project_root: Path, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> WarmProcess:
    """Starts `nncf-mcq` in a process that has imported everything, perhaps with further variables in its environment.

    `quantize` without NNCF INT8 beside it, which has tests of its own and takes seconds.
    """
    return WarmProcess(_with_defaults(arguments), project_root, _variables(project_root, environment))


def start_new_interpreter(project_root: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """The same in a new interpreter, with another order of sets: seconds of imports."""
    return subprocess.Popen(
        [sys.executable, "-m", "nncf_mcq.cli", *_with_defaults(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project_root,
        env=_variables(project_root),
    )


def _with_defaults(arguments: Sequence[str | Path]) -> list[str]:
    alone = ["--baseline", "none"] if arguments[0] == "quantize" else []
    return [*map(str, arguments), *alone]


def _variables(project_root: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    paths = filter(None, (str(project_root), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **(more or {})}


def finish(process: WarmProcess | subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Waits for the end; returns what was printed."""
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == code, out + errors
    assert "Traceback" not in errors, errors
    return out, errors
