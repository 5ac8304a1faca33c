"""The command `openvino-eval`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from nncf_mcq.errors import NncfMcqError
from nncf_mcq.files import write_text_atomically
from nncf_mcq.job import parse_overrides
from nncf_mcq.library_logs import silence_cuda_notice
from nncf_mcq.recipes import find_config
from openvino_eval import results
from openvino_eval.accuracy import check_metrics, compare_outputs, predict, score
from openvino_eval.benchmark_app import run_benchmark_app
from openvino_eval.compare import Comparison, compare_models
from openvino_eval.contest import (
    ContestInterrupted,
    ContestSettings,
    interruptible,
    parse_arms,
    parse_methods,
    run_contest,
    summary_table,
    verdict,
)
from openvino_eval.errors import EvaluationError
from openvino_eval.formats import MISSING, format_bytes, format_percent
from openvino_eval.latency import measure_latency
from openvino_eval.layers import count_integer_layers, runtime_layers
from openvino_eval.report import read_sources, write_report
from openvino_eval.runtime import DEFAULT_THREADS, Precision
from openvino_eval.samples import Samples, load_samples
from openvino_eval.size import measure_size

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure OpenVINO models: accuracy, latency, size, and what really runs on integers.",
)

Models = Annotated[list[str], typer.Argument(help="Model files, each PATH or NAME=PATH.", metavar="MODEL...")]
Data = Annotated[
    Path | None,
    typer.Option(help="A .npz archive with preprocessed `images` (N, C, H, W) and `targets` (N,)."),
]
Threads = Annotated[int, typer.Option(help="Inference threads.")]
Batch = Annotated[int | None, typer.Option(help="Images an inference; each model's own if not given.", min=1)]
Output = Annotated[Path | None, typer.Option("--json", help="Also write the result to this JSON file.")]
Rounds = Annotated[int, typer.Option(help="Turns a model; the models take turns.")]
TurnSeconds = Annotated[float, typer.Option(help="Length of one turn.")]

CONTEST = "Contest of search methods"
CONTEST_OPTIONS = {"methods", "evaluations", "seeds", "output", "arms", "overrides", "jobs"}
OPTION_NAMES = {"overrides": "set", "json_file": "json"}
INTERRUPTED = 130
LAYER_SECONDS = 0.5
"""How long a report runs each model to time its layers."""


@app.command()
def accuracy(
    models: Models,
    data: Data = None,
    metric: Annotated[list[str] | None, typer.Option(help="A metric; may be repeated. Default: top1.")] = None,
    batch_size: Batch = None,
    threads: Threads = DEFAULT_THREADS,
    precision: Annotated[Precision, typer.Option(help="What float layers run in.")] = Precision.F32,
    json_file: Output = None,
) -> None:
    """Score models on samples; with several, also compare each with the first."""
    metrics = check_metrics(metric or ["top1"])
    paths = parse_models(models)
    samples = required_samples(data)
    precisions = dict.fromkeys(paths, precision)
    outputs, targets = predict(paths, samples, batch_size=batch_size, threads=threads, precisions=precisions)
    reference = next(iter(outputs.values()))
    scores = {
        name: score(answers, targets, metrics) | (compare_outputs(answers, reference) if len(paths) > 1 else {})
        for name, answers in outputs.items()
    }
    table = Table("model", *[column(name) for name in next(iter(scores.values()))], title=f"{len(samples)} samples")
    for name, row in scores.items():
        table.add_row(name, *[f"{value:.4f}" for value in row.values()])
    finish(table, json_file, scores)


@app.command()
def benchmark(
    models: Models,
    threads: Threads = DEFAULT_THREADS,
    rounds: Rounds = 15,
    seconds: TurnSeconds = 0.2,
    precision: Annotated[Precision, typer.Option(help="What float layers run in.")] = Precision.F32,
    benchmark_app: Annotated[bool, typer.Option(help="Run OpenVINO's benchmark_app on each model instead.")] = False,
    app_seconds: Annotated[int, typer.Option(help="How long benchmark_app runs on each model.")] = 10,
    json_file: Output = None,
) -> None:
    """Measure latency: models in turns in one process, or one after the other with benchmark_app."""
    paths = parse_models(models)
    if benchmark_app:
        table = Table("model", column("median ms"), column("average ms"), column("min ms"), column("FPS"))
        figures: dict[str, Any] = {}
        for name, path in paths.items():
            app_result = run_benchmark_app(path, seconds=app_seconds, threads=threads, precision=precision)
            times = (app_result.median_ms, app_result.average_ms, app_result.min_ms)
            table.add_row(name, *[f"{value:.2f}" for value in times], f"{app_result.throughput_fps:.1f}")
            figures[name] = asdict(app_result)
    else:
        table = Table("model", column("median ms"), column("p10 ms"), column("ratio"), column("quartiles"))
        results = measure_latency(paths, threads=threads, rounds=rounds, seconds=seconds, precision=precision)
        for name, result in results.items():
            quartiles = f"{result.ratio_low:.3f}..{result.ratio_high:.3f}"
            table.add_row(name, f"{result.median_ms:.3f}", f"{result.p10_ms:.3f}", f"{result.ratio:.3f}", quartiles)
        figures = {name: asdict(result) for name, result in results.items()}
    finish(table, json_file, figures)


@app.command()
def inspect(
    models: Models,
    threads: Threads = DEFAULT_THREADS,
    json_file: Output = None,
) -> None:
    """Show what models weigh, how their constants are stored, and how many layers run on integers."""
    table = Table("model", column(".bin"), column(".xml"), "constants", column("int8 layers"))
    facts: dict[str, Any] = {}
    for name, path in parse_models(models).items():
        size = measure_size(path)
        integer, total = count_integer_layers(runtime_layers(path, threads=threads))
        stored = ", ".join(f"{kind.element_type} {format_bytes(kind.stored_bytes)}" for kind in size.constants)
        table.add_row(name, format_bytes(size.bin_bytes), format_bytes(size.xml_bytes), stored, f"{integer}/{total}")
        facts[name] = asdict(size) | {"integer_layers": integer, "compute_layers": total}
    finish(table, json_file, facts)


@app.command()
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
    seeds: Annotated[int, typer.Option(help="Searches of each method and arm.", min=1, rich_help_panel=CONTEST)] = 5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the contest.", rich_help_panel=CONTEST)
    ] = None,
    arms: Annotated[
        str, typer.Option(help="Start of the samplers: with the ILP's policy, without.", rich_help_panel=CONTEST)
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
    jobs: Annotated[int, typer.Option(help="Processes.", min=1, rich_help_panel=CONTEST)] = 1,
) -> None:
    """Put models side by side; the first is what the others are compared with. Or, with --methods, search methods."""
    given = {name for name in context.params if is_given(context, name)} - {"models"}
    if methods is not None:
        check_options(given - CONTEST_OPTIONS, "is for models, not for --methods")
        if len(models) > 1:
            raise EvaluationError(f"{models[1]}: found a second argument, allowed with --methods: one CONFIG")
        if output is None:
            raise EvaluationError("--output is missing: the folder of the contest")
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
    comparison = compare_models(
        parse_models(models),
        None if data is None else load_samples(data),
        latency=latency,
        bf16=bf16,
        batch_size=batch_size,
        threads=threads,
        rounds=rounds,
        seconds=seconds,
    )
    finish(comparison_table(comparison), json_file, comparison.model_dump(mode="json"))


def compete(settings: ContestSettings) -> None:
    """Run a contest of search methods and show who wins.

    Args:
        settings: Who searches for what.

    Raises:
        typer.Exit: Ctrl-C.
    """
    try:
        with interruptible():
            standings = run_contest(settings, Console(stderr=True, highlight=False))
    except ContestInterrupted:
        print("interrupted: the same command continues", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finish(summary_table(standings, settings), None, None)
    lines = [verdict(standings), f"Results: {settings.output}/comparison.json, comparison.md, curves.svg"]
    Console().print("\n".join(line for line in lines if line), highlight=False, soft_wrap=True)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line.

    Args:
        context: Of the command.
        name: Of the parameter.
    """
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_options(names: Collection[str], reason: str) -> None:
    """Refuse options that would be ignored.

    Args:
        names: Parameters that stand on the command line and should not.
        reason: What is wrong with them.

    Raises:
        EvaluationError: There are any.
    """
    for name in sorted(names):
        raise EvaluationError(f"--{OPTION_NAMES.get(name, name.replace('_', '-'))}: {reason}")


@app.command()
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Output folders of nncf-mcq quantize or compare --methods, or what holds such.",
            metavar="DIR...",
        ),
    ] = None,
    comparison: Annotated[Path | None, typer.Option(help="JSON file of `openvino-eval compare --json`.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="The heading.")] = "Quantization report",
    layer_times: Annotated[
        bool, typer.Option(help="Run each model for a moment, on this machine, to find its slowest layers.")
    ] = True,
    threads: Threads = DEFAULT_THREADS,
) -> None:
    """Write one self-contained HTML file: accuracy and size, bits, clipping, weights, search, slowest layers."""
    if not folders and comparison is None:
        raise EvaluationError("nothing to report: name output folders of nncf-mcq, or a --comparison")
    sources = read_sources(unique_names([folder.resolve() for folder in folders or []]), comparison)
    if layer_times:
        sources = sources.with_layer_times(threads, LAYER_SECONDS)
    try:
        write_report(output, comparison=sources.comparison, runs=sources.runs, contests=sources.contests, title=title)
    except OSError as error:
        raise EvaluationError(f"{output}: cannot be written: {error.strerror}") from error
    Console().print(f"wrote {output} ({format_bytes(output.stat().st_size)})", highlight=False, soft_wrap=True)


@app.command("table")
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
    """Keep the results of runs in one file, and write the table of all of them."""
    groups = results.merge(results.load_groups(data), [results.collect(folder) for folder in folders or []])
    if not groups:
        raise EvaluationError(f"no results: name output folders; {data} holds none")
    figures = [] if published is None else results.load_published(published)
    options = [("--data", data), ("--published", published), ("--output", output)]
    command = shlex.join(["openvino-eval", "table", *(f"{word}" for pair in options if pair[1] for word in pair)])
    try:
        results.save_groups(data, groups)
        write_text_atomically(output, results.markdown(groups, figures, command))
    except OSError as error:
        raise EvaluationError(f"{output}: cannot be written: {error.strerror}") from error
    Console().print(f"wrote {output}", highlight=False, soft_wrap=True)


def parse_models(arguments: list[str]) -> dict[str, Path]:
    """Read the models of a command line.

    Args:
        arguments: Each `PATH` or `NAME=PATH`.

    Returns:
        Name -> path. A path without a name is named after its file, or after its folders too where that is ambiguous.

    Raises:
        EvaluationError: Two models have one name.
    """
    entries: list[tuple[str, Path]] = []
    for argument in arguments:
        name, separator, path = argument.partition("=")
        # An existing file wins, as its name may hold the sign.
        is_named = bool(separator and name and path) and not Path(argument).is_file()
        entries.append((name, Path(path)) if is_named else ("", Path(argument)))
    names_of_paths = {path: name for name, path in unique_names([path for name, path in entries if not name]).items()}
    result: dict[str, Path] = {}
    for given_name, file in entries:
        name = given_name or names_of_paths[file]
        if name in result:
            raise EvaluationError(f"two models are named {name!r}: name one of them, as in NAME={file}")
        result[name] = file
    return result


def unique_names(paths: list[Path]) -> dict[str, Path]:
    """Name paths after their last part, or after as many parts as it takes to tell them apart.

    Args:
        paths: Files or folders.

    Returns:
        Name -> path.

    Raises:
        EvaluationError: A path occurs twice.
    """
    if len(set(paths)) < len(paths):
        repeated = next(path for path in paths if paths.count(path) > 1)
        raise EvaluationError(f"{repeated}: named twice")
    stems = [path.with_suffix("") if path.suffix in {".xml", ".onnx"} else path for path in paths]
    longest = max((len(path.parts) for path in stems), default=0)
    for depth in range(1, longest + 1):
        names = ["/".join(path.parts[-depth:]) for path in stems]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    return {str(path): path for path in paths}


def required_samples(data: Path | None) -> Samples:
    """The samples of a command that needs them.

    Args:
        data: The option's value.

    Returns:
        The samples.

    Raises:
        EvaluationError: The option is missing.
    """
    if data is None:
        raise EvaluationError("--data is missing: a .npz archive with `images` and `targets`")
    return load_samples(data)


def comparison_table(comparison: Comparison) -> Table:
    """A comparison for the terminal.

    Args:
        comparison: What was measured.

    Returns:
        The table.
    """
    headings = ("top-1", "agreement", "KL", ".bin", ".xml", "median ms", "latency", "int8 layers")
    table = Table("model", *[column(heading) for heading in headings])
    for row in comparison.rows:
        table.add_row(
            row.name,
            format_percent(row.top1),
            format_percent(row.agreement),
            MISSING if row.kl is None else f"{row.kl:.4f}",
            format_bytes(row.bin_bytes),
            format_bytes(row.xml_bytes),
            MISSING if row.median_ms is None else f"{row.median_ms:.3f}",
            MISSING if row.latency_ratio is None else f"{row.latency_ratio:.2f}x",
            f"{row.integer_layers}/{row.compute_layers}",
        )
    return table


def column(heading: str) -> Column:
    """A right-aligned column, for figures.

    Args:
        heading: Its heading.

    Returns:
        A `rich` column.
    """
    return Column(heading, justify="right")


def finish(table: Table, json_file: Path | None, result: Any) -> None:
    """Show a result, and write it where asked.

    Args:
        table: For the terminal.
        json_file: Where to write `result`, if anywhere.
        result: Plain data.

    Raises:
        EvaluationError: The file cannot be written.
    """
    # A pipe has no width of its own; 80 columns would cut the figures.
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"{json_file}: cannot be written: {error.strerror}") from error


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    silence_cuda_notice()
    try:
        app()
    except (EvaluationError, NncfMcqError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
