"""Outputs of quantized models on CPUs with fewer instructions, which oneDNN can be told to be on."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.command import errors_as_messages, show
from nncf_mcq.config.output_files import CONFIG_FILE
from nncf_mcq.data.chunks import iterate_samples, stack_inputs
from nncf_mcq.job import Job
from nncf_mcq.metrics.scores import get_score
from nncf_mcq.model.runner import ModelRunner

INSTRUCTION_SETS = ("ALL", "AVX512_CORE_VNNI", "AVX512_CORE", "AVX2", "SSE41")
"""Limits of `ONEDNN_MAX_CPU_ISA`: the machine's own, then with VNNI and without."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, runs each model under each limit and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instruction_sets", description=__doc__)
    parser.add_argument("directory", nargs="+", type=Path, help="folders that `nncf-mcq quantize` wrote")
    parser.add_argument("--images", type=int, default=256, metavar="N", help="first test images of the configuration")
    parser.add_argument("--run", nargs=3, type=Path, metavar=("XML", "INPUTS", "OUTPUTS"), help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.run is not None:
        xml, inputs, file = parsed.run
        np.save(file, _run(ov.Core().read_model(xml), np.load(inputs)))
        return
    table = Table("model", "limit", "same outputs", "agreement with float", "KL to float")
    with errors_as_messages(parser):
        for directory in parsed.directory:
            _measure(directory, parsed.images, table)
    show(table)


def _measure(directory: Path, count: int, table: Table) -> None:
    """A row for each limit."""
    job = Job.read(directory / CONFIG_FILE)
    samples = [sample for sample, _ in iterate_samples(job.load_dataset().report)][:count]
    images = stack_inputs(samples)
    expected = _run(job.openvino_model(), images[0])
    found = {limit: _outputs(directory, images[0], limit) for limit in INSTRUCTION_SETS}
    for limit, outputs in found.items():
        same = np.array_equal(outputs, found["ALL"])
        agreement = float((outputs.argmax(axis=1) == expected.argmax(axis=1)).mean())
        kl = get_score("kl")(outputs, expected)
        table.add_row(directory.name, limit, "yes" if same else "no", f"{agreement:.1%}", f"{kl:.4f}")


def _outputs(directory: Path, images: NDArray[np.float32], limit: str) -> NDArray[np.float32]:
    """In a process of its own: the limit is read once."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, file = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(inputs, images)
        paths = [str(path) for path in (directory / "model.xml", inputs, file)]
        command = [sys.executable, "-m", "benchmarks.instruction_sets", str(directory), "--run", *paths]
        subprocess.run(command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": limit}, check=True)
        outputs: NDArray[np.float32] = np.load(file)
    return outputs


def _run(model: ov.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = ModelRunner.compile(model, threads=1)((images,))[0]
    return outputs


if __name__ == "__main__":
    main()
