"""`openvino-eval benchmark`: how fast a file is."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from nncf_mcq.utils import console_stage, examples
from openvino_eval.cli.application import app
from openvino_eval.cli.arguments import (
    Models,
    Output,
    Reference,
    Threads,
    labelled,
    parse_models,
    with_reference,
)
from openvino_eval.cli.output import finish
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Mode, Precision


@app.command(
    epilog=examples(
        "openvino-eval benchmark fp32.xml int8.xml quantized/model.xml --reference int8",
        "openvino-eval benchmark quantized/model.xml --mode latency --layers",
    )
)
def benchmark(
    models: Models,
    reference: Reference = None,
    modes: Annotated[list[Mode] | None, typer.Option("--mode", help="May be repeated. Default: both.")] = None,
    precisions: Annotated[
        list[Precision] | None,
        typer.Option("--precision", "-infer_precision", help="Precision of float layers; may be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of each mode; the models are interleaved.", min=1)] = 5,
    seconds: Annotated[int, typer.Option(help="Length of a model's turn in a round.", min=1)] = 2,
    threads: Threads = DEFAULT_THREADS,
    streams: Annotated[
        list[int] | None,
        typer.Option(
            "--streams",
            "-nstreams",
            help="Parallel inferences for the throughput; may be repeated. By default as many as threads.",
        ),
    ] = None,
    batch_sizes: Annotated[
        list[int] | None,
        typer.Option("--batch", "-b", help="Images per inference; may be repeated. By default each model's own."),
    ] = None,
    percentiles: Annotated[
        list[int] | None,
        typer.Option(
            "--latency-percentile",
            "-latency_percentile",
            help="A percentile of the latency, besides the median; may be repeated. Takes a turn of its own.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir", "-cdir", help="Folder of compiled models: later rounds read what the first compiled."
        ),
    ] = None,
    load_config: Annotated[
        Path | None,
        typer.Option(
            "--load-config",
            "-load_config",
            metavar="FILE",
            help="JSON with further properties of the CPU, as for benchmark_app; they replace the pinned ones.",
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show precision, kernel and time of every layer.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the raw reports. Default: `benchmark_reports/<date>-<time>`."),
    ] = None,
    json_file: Output = None,
) -> None:
    """Run OpenVINO's benchmark_app on models, interleaved: latency, throughput, and the precision of each layer."""
    from openvino_eval.benchmark_tables import (
        cache_lines,
        integer_lines,
        layer_time_table,
        settings_line,
        statistics_tables,
    )
    from openvino_eval.benchmarking import Candidate, count_runs
    from openvino_eval.benchmarking import benchmark as run_benchmark
    from openvino_eval.device_config import read_properties
    from openvino_eval.runtime import check_precisions
    from openvino_eval.scenarios import plan

    paths, against = with_reference(parse_models(models), reference)
    folder = output or Path("benchmark_reports") / time.strftime("%Y%m%d-%H%M%S")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EvaluationError(f"--output: found {folder}, allowed: a new or an empty folder")
    properties, configured = ({}, None) if load_config is None else read_properties(load_config)
    candidates = {
        labelled(name, precision): Candidate(path, precision)
        for name, path in paths.items()
        for precision in check_precisions(precisions or [configured or Precision.F32])
    }
    chosen = modes or list(Mode)
    scenarios = plan(chosen, batch_sizes or (), streams or (), percentiles or ())
    with console_stage("benchmark_app", count_runs(len(candidates), scenarios, rounds)) as advance:
        result = run_benchmark(
            candidates,
            folder,
            reference=next(name for name, item in candidates.items() if item.path == paths[against]),
            modes=chosen,
            rounds=rounds,
            seconds=seconds,
            threads=threads,
            streams=streams,
            batch_sizes=batch_sizes or (),
            percentiles=percentiles or (),
            cache=cache,
            properties=properties,
            progress=advance,
        )
    tables = [*statistics_tables(result), *(layer_time_table(*item) for item in result.layers.items() if layers)]
    finish(tables, json_file, result.to_dict())
    print(
        "\n".join(
            [
                settings_line(result),
                *(cache_lines(result) if cache else ()),
                *integer_lines(result),
                f"reports: {folder}",
            ]
        )
    )
    for warning in result.warnings():
        print(f"warning: {warning}", file=sys.stderr)
