"""The main job on the embedded model and images: quantize, export, compare, report. Needs no network."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from rich.console import Console
from rich.table import Table

from nncf_mcq import NncfMcqError
from nncf_mcq.cli import ConsoleProgress
from nncf_mcq.job import Job
from nncf_mcq.task.datasets import DatasetSplits
from openvino_eval.compare import Comparison, compare_models
from openvino_eval.report import write_report
from openvino_eval.run_result import load_run
from openvino_eval.samples import ArraySamples

CONFIG = Path(__file__).with_name("config.json")
PRECISION = "compression.initializer.precision"
UNIFORM = {"type": "uniform"}
ILP = {"type": "ilp"}

RUNS = {
    "uniform 8 bits": {PRECISION: {**UNIFORM, "bits": 8}},
    "uniform 4 bits": {PRECISION: {**UNIFORM, "bits": 4}},
    "uniform 3 bits": {PRECISION: {**UNIFORM, "bits": 3}},
    "mixed, average 4 bits": {PRECISION: {**ILP, "budget": {"weight_size": {"average_bits": 4}}}},
    "mixed, average 3 bits": {PRECISION: {**ILP, "budget": {"weight_size": {"average_bits": 3}}}},
}
# The embedded report images, also where the full data set is at hand: the same figures on every machine.
EMBEDDED = {"dataset.full_root": None}


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the IRs and the report")
    arguments = parser.parse_args()
    try:
        run(arguments.output)
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")


def run(output: Path) -> None:
    """Quantizes in several ways, compares the files on the report images, and writes the report."""
    start = time.perf_counter()
    console = Console()
    job = Job.read(CONFIG, EMBEDDED)
    splits = job.load_dataset()
    float_model = job.openvino_model()
    models = {"FP32": _save(float_model, output / "fp32")}
    models["NNCF INT8"] = _save(_nncf_int8(float_model, splits), output / "nncf_int8")
    for name, overrides in RUNS.items():
        console.print(f"[bold]{name}[/bold]")
        with ConsoleProgress() as progress:
            result = Job.read(CONFIG, {**EMBEDDED, **overrides}).run(progress)
        models[name] = result.save(output / name.replace(",", "").replace(" ", "_"))
    images, targets = zip(*(splits.report[index] for index in range(len(splits.report))), strict=True)
    comparison = compare_models(models, ArraySamples(np.stack(images), np.array(targets)))
    report = output / "report.html"
    runs = {name: load_run(models[name].parent) for name in RUNS}
    write_report(report, comparison=comparison, runs=runs, title="Fashion-MNIST")
    console.print(_table(comparison))
    console.print(f"IR:      {output}/*/model.xml\nReport:  {report}", highlight=False)
    console.print(f"{time.perf_counter() - start:.0f} s", highlight=False)


def _save(model: ov.Model, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # A new name, then a rename: a process that has the old file mapped keeps it.
    temporary = folder / "new.xml"
    ov.save_model(model, temporary, compress_to_fp16=False)
    for suffix in (".bin", ".xml"):
        temporary.with_suffix(suffix).replace(folder / f"model{suffix}")
    return folder / "model.xml"


def _nncf_int8(model: ov.Model, splits: DatasetSplits) -> ov.Model:
    images = [splits.calibration[index][0][None] for index in range(len(splits.calibration))]
    return nncf.quantize(model.clone(), nncf.Dataset(images), subset_size=len(images))


def _table(comparison: Comparison) -> Table:
    table = Table(title=f"{comparison.samples} report images, {comparison.threads} threads", title_justify="left")
    table.add_column("model")
    for heading in ("top-1 %", "agreement %", "KL", ".bin bytes", ".xml bytes", "latency / FP32", "int8 layers"):
        table.add_column(heading, justify="right")
    for row in comparison.rows:
        table.add_row(
            row.name,
            f"{100 * (row.top1 or 0):.2f}",
            f"{100 * (row.agreement or 0):.2f}",
            f"{row.kl or 0:.4f}",
            f"{row.bin_bytes:,}",
            f"{row.xml_bytes:,}",
            f"{row.latency_ratio or 0:.2f}",
            f"{row.integer_layers}/{row.compute_layers}",
        )
    return table


if __name__ == "__main__":
    main()
