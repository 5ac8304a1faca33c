"""`openvino-eval compare`: models, or search methods."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from nncf_mcq.utils import examples, output_folder
from openvino_eval.cli.application import app
from openvino_eval.cli.arguments import (
    Batch,
    Data,
    Output,
    Rounds,
    Threads,
    TurnSeconds,
    check_options,
    is_given,
    parse_models,
)
from openvino_eval.cli.output import column, finish
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS

if TYPE_CHECKING:
    from openvino_eval.compare import Comparison
    from openvino_eval.contest import ContestSettings

CONTEST = "Contest of search methods"
CONTEST_OPTIONS = {"methods", "evaluations", "seeds", "output", "arms", "overrides", "jobs"}
INTERRUPTED = 130


@app.command(
    epilog=examples(
        "openvino-eval compare FP32=fp32.xml INT8=int8.xml quantized/model.xml --json quantized/models.json",
        "openvino-eval compare config.json --methods rl,ilp,random --evaluations 200 --output contest",
    )
)
def compare(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model files, each PATH or NAME=PATH; with --methods a JSON file, or the name of a recipe.",
            metavar="MODEL...|CONFIG",
        ),
    ],
    data: Data = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="A metric on DATA; may be repeated. Default: top1.")
    ] = None,
    latency: Annotated[bool, typer.Option(help="Whether to measure latency.")] = True,
    bf16: Annotated[bool, typer.Option(help="Add a row with the first model's float layers in bf16.")] = False,
    batch_size: Batch = None,
    threads: Threads = DEFAULT_THREADS,
    rounds: Rounds = 15,
    seconds: TurnSeconds = 0.2,
    json_file: Output = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Search methods, separated by commas, that compete for CONFIG.", rich_help_panel=CONTEST),
    ] = None,
    evaluations: Annotated[
        int, typer.Option(help="Unique policies that each search scores.", min=1, rich_help_panel=CONTEST)
    ] = 200,
    seeds: Annotated[int, typer.Option(help="Seeds per method and arm.", min=1, rich_help_panel=CONTEST)] = 5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the contest.", rich_help_panel=CONTEST)
    ] = None,
    arms: Annotated[
        str,
        typer.Option(
            help="Start of the samplers: from the ILP's policy (warm), without it (cold).", rich_help_panel=CONTEST
        ),
    ] = "warm,cold",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Replace a value of the configuration; may be repeated.",
            rich_help_panel=CONTEST,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Parallel processes.", min=1, rich_help_panel=CONTEST)] = 1,
) -> None:
    """Compare models with the first of them or, with --methods, search methods with each other."""
    from openvino_eval.compare import compare_models
    from openvino_eval.samples import load_samples

    given = {name for name in context.params if is_given(context, name)} - {"models"}
    if methods is not None:
        check_options(given - CONTEST_OPTIONS, "is for models, not for --methods")
        if len(models) > 1:
            raise EvaluationError(f"{models[1]}: found a second argument, allowed with --methods: one CONFIG")
        if output is None:
            raise EvaluationError("--output is missing: the folder of the contest")
        from nncf_mcq import parse_overrides
        from nncf_mcq.config import find_config
        from openvino_eval.contest import ContestSettings, parse_arms, parse_methods

        compete(
            ContestSettings(
                config=find_config(models[0]),
                methods=parse_methods(methods),
                evaluations=evaluations,
                seeds=seeds,
                output=output,
                overrides=parse_overrides(overrides or []),
                arms=parse_arms(arms),
                jobs=jobs,
            )
        )
        return
    check_options(given & CONTEST_OPTIONS, "needs --methods")
    check_options(given & {"metrics"} if data is None else (), "needs --data")
    comparison = compare_models(
        parse_models(models),
        None if data is None else load_samples(data),
        metrics=metrics or ["top1"],
        latency=latency,
        bf16=bf16,
        batch_size=batch_size,
        threads=threads,
        rounds=rounds,
        seconds=seconds,
    )
    finish(comparison_table(comparison), json_file, comparison.model_dump(mode="json"))
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def compete(settings: ContestSettings) -> None:
    """Run a contest of search methods and show who wins.

    Args:
        settings: Who searches for what.

    Raises:
        typer.Exit: Ctrl-C.
    """
    from openvino_eval.contest import (
        RESULT_FILES,
        ContestInterrupted,
        interruptible,
        run_contest,
        summary_table,
        verdict,
    )

    try:
        with interruptible(), output_folder(settings.output):
            standings = run_contest(settings, Console(stderr=True, highlight=False))
    except ContestInterrupted:
        print("interrupted: repeat the command to continue", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finish(summary_table(standings, settings), None, None)
    lines = [verdict(standings), f"Results: {settings.output}/{', '.join(RESULT_FILES)}"]
    Console().print("\n".join(line for line in lines if line), highlight=False, soft_wrap=True)


def comparison_table(comparison: Comparison) -> Table:
    """A comparison for the terminal.

    Args:
        comparison: What was measured.

    Returns:
        The table.
    """
    from nncf_mcq.metrics import metric_name
    from openvino_eval.formats import MISSING, format_bytes

    metrics = comparison.metrics
    headings = (*map(metric_name, metrics), ".bin", ".xml", "median ms", "latency", "int8 layers")
    table = Table("model", *[column(heading) for heading in headings])
    for row in comparison.rows:
        table.add_row(
            row.name,
            *(_metric(name, row.metrics.get(name)) for name in metrics),
            format_bytes(row.bin_bytes),
            format_bytes(row.xml_bytes),
            MISSING if row.median_ms is None else f"{row.median_ms:.3f}",
            MISSING if row.latency_ratio is None else f"{row.latency_ratio:.2f}x",
            f"{row.integer_layers}/{row.compute_layers}",
        )
    return table


def _metric(name: str, value: float | None) -> str:
    from nncf_mcq.metrics import SHARES
    from openvino_eval.formats import MISSING, format_percent

    if name in SHARES:
        return format_percent(value)
    return MISSING if value is None else f"{value:.4f}"
