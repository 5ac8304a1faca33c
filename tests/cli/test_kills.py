"""Commands that are killed at random moments, in any stage: repeated, they write what an undisturbed one does."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import openvino as ov
import pytest

from nncf_mcq.utils.output_folder import LOCK_FILE
from tests.commands import finish, start, start_new_interpreter, write_config

FILES = {"model.xml", "model.bin", "policy.json", "config.json", "histograms.json", "result.json", "study.journal"}
RL = {"type": "rl", "evaluations": 20, "measured_widths": 2, "patience": None}


def check_readable(output: Path) -> None:
    """Nothing that has its final name is half-written; an IR has its result."""
    for file in output.glob("*.json") if output.exists() else ():
        json.loads(file.read_text())
    if (output / "model.xml").exists():
        ov.Core().read_model(output / "model.xml")


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_same_model(kills: int, tmp_path: Path, project_root: Path) -> None:
    config = write_config(tmp_path, RL, correction={"sequential": True})
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "killed"
    # In another order of sets than those that follow.
    finish(start_new_interpreter(project_root, "quantize", config, "--output", undisturbed))
    seconds = sum(json.loads((undisturbed / "result.json").read_text())["timing"]["seconds"].values())
    generator, done = random.Random(kills), 0
    while done < kills:
        process = start(project_root, "quantize", config, "--output", output, "--resume")
        # A kill that comes too late is none.
        end = time.monotonic() + generator.uniform(0, seconds)
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            process.kill()
            done += 1
        process.communicate()
        check_readable(output)
        if process.returncode == 0:
            # From the start again, with the files of before in the way.
            (output / "study.journal").unlink()
    finish(start(project_root, "quantize", config, "--output", output, "--resume"))
    assert (output / "model.bin").read_bytes() == (undisturbed / "model.bin").read_bytes()
    assert json.loads((output / "policy.json").read_text()) == json.loads((undisturbed / "policy.json").read_text())
    assert {path.name for path in output.iterdir()} == FILES | {LOCK_FILE}
