"""Quantizes a recipe's model in several ways and compares the files: accuracy, size, latency, report.

The baselines are the float model and NNCF's own INT8. The other rows are those of `variants.json` beside the
configuration: name -> values that replace some of it, as with --set. Where there is no such file, they are uniform and
mixed widths, and random bits, which show what mixing widths costs in latency. With --baselines, published
methods follow.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from nncf_mcq import NncfMcqError
from nncf_mcq.config.catalog import baselines, find_config
from nncf_mcq.config.output_files import CONFIG_FILE, MODEL_NAME, RESULT_FILE
from nncf_mcq.config.schema import load_config, read_json
from nncf_mcq.data.datasets import DatasetSplits
from nncf_mcq.job import Job, parse_overrides
from nncf_mcq.metrics.names import METRIC_NAMES, metric_heading, metric_value
from nncf_mcq.model.inference import compile_model, core
from nncf_mcq.model.layers import find_layers
from nncf_mcq.result import versions
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.library_logs import silence_cuda_notice
from openvino_eval.compare import MODELS_FILE, Comparison, compare_models
from openvino_eval.report import write_report
from openvino_eval.run_result import load_run

VARIANTS_FILE = "variants.json"
FLOAT_FOLDER = "fp32"
PRECISION = "compression.initializer.precision"
UNIFORM_BITS = (8, 6, 4, 3)
AVERAGE_BITS = (4, 3)


def main() -> None:
    """Parses the command line and runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a JSON file, or the name of a recipe")
    parser.add_argument("--output", type=Path, required=True, help="folder for the IRs and the report")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value of the config"
    )
    parser.add_argument(
        "--baselines", action="store_true", help="also the baselines that ship with the package (nncf-mcq baselines)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="interleaved turns of each model when measuring latency")
    parser.add_argument("--reuse", action="store_true", help="keep what an interrupted run of the same command made")
    arguments = parser.parse_args()
    silence_cuda_notice()
    try:
        overrides = parse_overrides(arguments.set)
        compare(
            find_config(arguments.config),
            overrides,
            arguments.output,
            rounds=arguments.rounds,
            with_baselines=arguments.baselines,
            reuse=arguments.reuse,
        )
    except NncfMcqError as error:
        parser.exit(2, f"error: {error}\n")


def compare(
    config: Path,
    overrides: dict[str, Any],
    output: Path,
    *,
    rounds: int,
    with_baselines: bool = False,
    reuse: bool = False,
) -> None:
    """Runs every variant, then measures all files side by side."""
    start = time.perf_counter()
    terminal = Console()
    # A pipe has no width: lines as wide as the table rather than cut at 80 columns.
    console = Console(highlight=False, width=None if terminal.is_terminal else 100)
    job = Job.read(config, overrides)
    splits = job.load_dataset()
    measure = job.report(splits)
    float_model = job.openvino_model()
    models = {"FP32": _save(float_model, output / FLOAT_FOLDER)}
    models["NNCF INT8"] = _save(_nncf_int8(float_model, splits), output / "nncf_int8")
    variants = _variants(config, float_model)
    if with_baselines:
        # NNCF's INT8 has its row already.
        own = {name: baseline.values for name, baseline in baselines().items() if name != "nncf_int8"}
        variants |= {f"baseline {name}": values for name, values in own.items()}
    for name, variant in variants.items():
        folder = output / name.replace(",", "").replace(" ", "_")
        variant_job = Job.read(config, {**overrides, **variant})
        if reuse and _is_made(folder, variant_job):
            console.print(f"[bold]{name}[/bold]: made before")
            models[name] = folder / f"{MODEL_NAME}.xml"
            continue
        console.print(f"[bold]{name}[/bold]")
        with ConsoleProgress() as progress:
            result = variant_job.run(progress)
        models[name] = result.save(folder)
    threads = job.config.runtime.threads
    scores = {name: measure(compile_model(core().read_model(path), threads)) for name, path in models.items()}
    comparison = _with_scores(compare_models(models, rounds=rounds, threads=threads), scores, len(splits.report))
    command = shlex.join(["python", "recipes/compare.py", *sys.argv[1:]])
    comparison = comparison.model_copy(update={"model": config.parent.name, "command": command})
    comparison.save(output / MODELS_FILE)
    report = output / "report.html"
    runs = {name: load_run(models[name].parent) for name in variants}
    write_report(report, comparison=comparison, runs=runs, title=config.parent.name)
    console.print(_table(comparison, scores))
    console.print(f"IR:      {output}/*/model.xml\nReport:  {report}", soft_wrap=True)
    console.print(f"{time.perf_counter() - start:.0f} s")


def _variants(config: Path, model: ov.Model) -> dict[str, dict[str, Any]]:
    """Name of each variant -> dotted path in the configuration -> value."""
    own = config.with_name(VARIANTS_FILE)
    if own.is_file():
        return read_json(own)
    layers = [layer.name for layer in find_layers(model).layers]
    return {name: {PRECISION: precision} for name, precision in _precisions(layers).items()}


def _is_made(folder: Path, job: Job) -> bool:
    """Whether a folder holds the result of the same configuration, by the same versions."""
    result = folder / RESULT_FILE
    if not result.is_file():
        return False
    made = load_config(folder / CONFIG_FILE).map_paths(lambda path: str((folder / path).resolve()))
    return made == job.config and json.loads(result.read_text(encoding="utf-8"))["versions"] == versions()


def _precisions(layers: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for bits in UNIFORM_BITS:
        found[f"uniform {bits} bits"] = {"type": "uniform", "bits": bits}
    for bits in AVERAGE_BITS:
        found[f"mixed, average {bits} bits"] = {"type": "ilp", "budget": {"weight_size": {"average_bits": bits}}}
    choose = random.Random(0)
    pairs = [[choose.randint(2, 8), name] for name in layers]
    found["random 2 to 8 bits"] = {"type": "manual", "bitwidth_per_scope": pairs}
    return found


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


def _with_scores(comparison: Comparison, scores: Mapping[str, Mapping[str, float]], samples: int) -> Comparison:
    """The comparison with the scores."""
    rows = tuple(row.model_copy(update={"metrics": dict(scores[row.name])}) for row in comparison.rows)
    return comparison.model_copy(update={"rows": rows, "samples": samples})


def _table(comparison: Comparison, scores: Mapping[str, Mapping[str, float]]) -> Table:
    title = f"{comparison.samples} report images, batch 1, {comparison.threads} threads"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1))
    table.add_column("model", no_wrap=True)
    metrics = [name for name in METRIC_NAMES if any(name in values for values in scores.values())]
    for heading in (*map(metric_heading, metrics), ".bin kB", ".xml kB", "latency", "int8"):
        table.add_column(heading, justify="right", no_wrap=True)
    baseline = next(row.median_ms for row in comparison.rows if row.name == "NNCF INT8") or 1.0
    for row in comparison.rows:
        table.add_row(
            row.name,
            *(_figure(name, scores[row.name].get(name)) for name in metrics),
            f"{row.bin_bytes / 1000:.1f}",
            f"{row.xml_bytes / 1000:.1f}",
            f"{(row.median_ms or 0) / baseline:.2f}",
            f"{row.integer_layers}/{row.compute_layers}",
        )
    agree = "agree: same answer as FP32; " if "agreement" in metrics else ""
    table.caption = f"{agree}latency: median, relative to NNCF INT8; int8: layers on int8 kernels"
    table.caption_justify = "left"
    return table


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "" if name not in ("agreement", "kl") else _figure(name, 1.0 if name == "agreement" else 0.0)
    return metric_value(name, value)


if __name__ == "__main__":
    main()
