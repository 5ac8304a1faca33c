"""`openvino-eval report` and `table`: what is made of the results of runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nncf_mcq.config import RESULT_FILE
from nncf_mcq.utils import examples, write_text_atomically
from openvino_eval.cli.application import app
from openvino_eval.cli.arguments import Threads, unique_names
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, REPORT_FILE

LAYER_SECONDS = 0.5
"""How long a report runs each model to time its layers."""


@app.command(
    epilog=examples(
        "openvino-eval report quantized",
        "openvino-eval report quantized contest --output report.html --title Budgets",
    )
)
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Output folders of nncf-mcq quantize or openvino-eval compare --methods, or folders of such.",
            metavar="DIR...",
        ),
    ] = None,
    comparison: Annotated[Path | None, typer.Option(help="JSON file of `openvino-eval compare --json`.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=f"The HTML file; by default {REPORT_FILE} in DIR for the result of one quantize, else in the working "
            "folder.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The heading.")] = "Quantization report",
    layer_times: Annotated[
        bool, typer.Option(help="Run each model for a moment, on this machine, to find its slowest layers.")
    ] = True,
    threads: Threads = DEFAULT_THREADS,
) -> None:
    """Write one self-contained HTML file: accuracy and size, bits, clipping, weights, search, slowest layers."""
    from openvino_eval.formats import format_bytes
    from openvino_eval.report import read_sources, write_report

    if not folders and comparison is None:
        raise EvaluationError("nothing to report: name output folders of nncf-mcq, or a --comparison")
    sources = read_sources(unique_names([folder.resolve() for folder in folders or []]), comparison)
    if layer_times:
        sources = sources.with_layer_times(threads, LAYER_SECONDS)
    if output is None:
        # Of another model, it does not replace this one's.
        single = folders[0] if folders and len(folders) == 1 and comparison is None else Path()
        output = (single if (single / RESULT_FILE).is_file() else Path()) / REPORT_FILE
    try:
        write_report(output, comparison=sources.comparison, runs=sources.runs, contests=sources.contests, title=title)
    except OSError as error:
        raise EvaluationError(f"{output}: cannot be written: {error.strerror}") from error
    Console().print(f"wrote {output} ({format_bytes(output.stat().st_size)})", highlight=False, soft_wrap=True)


@app.command(
    "table",
    epilog=examples(
        "openvino-eval table quantized --data results.json --output RESULTS.md",
    ),
)
def results_table(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Output folders of recipes/compare.py or nncf-mcq to add.", metavar="[FOLDER]..."),
    ] = None,
    data: Annotated[
        Path, typer.Option(help="JSON file of all results; those of the same command are replaced.")
    ] = Path("recipes/results.json"),
    published: Annotated[Path | None, typer.Option(help="JSON file of figures from the literature.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Markdown file.")] = Path("recipes/RESULTS.md"),
) -> None:
    """Collect the results of runs in one file, and write a table of all of them."""
    from openvino_eval import results

    groups = results.merge(results.load_groups(data), [results.collect(folder) for folder in folders or []])
    if not groups:
        raise EvaluationError(f"no results: name output folders; {data} has none")
    figures = [] if published is None else results.load_published(published)
    options = [("--data", data), ("--published", published), ("--output", output)]
    command = shlex.join(["openvino-eval", "table", *(f"{word}" for pair in options if pair[1] for word in pair)])
    try:
        results.save_groups(data, groups)
        write_text_atomically(output, results.markdown(groups, figures, command))
    except OSError as error:
        raise EvaluationError(f"{output}: cannot be written: {error.strerror}") from error
    Console().print(f"wrote {output}", highlight=False, soft_wrap=True)
