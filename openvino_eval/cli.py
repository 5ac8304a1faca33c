"""The command `openvino-eval`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import openvino as ov
import typer
from rich.console import Console
from rich.table import Column, Table

from nncf_mcq.errors import NncfMcqError
from nncf_mcq.files import write_text_atomically
from nncf_mcq.job import Job, parse_overrides
from nncf_mcq.library_logs import silence_cuda_notice
from nncf_mcq.recipes import find_config
from openvino_eval import results
from openvino_eval.accuracy_report import FLOAT_MODEL, Task, accuracy_table, caption, measure_accuracy
from openvino_eval.benchmark import Candidate, count_runs
from openvino_eval.benchmark import benchmark as run_benchmark
from openvino_eval.benchmark_app import Mode
from openvino_eval.benchmark_tables import figure_tables, integer_lines, layer_table, settings_line
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
from openvino_eval.layers import count_integer_layers, runtime_layers
from openvino_eval.progress import progress_bar
from openvino_eval.report import read_sources, write_report
from openvino_eval.runtime import DEFAULT_THREADS, Precision, check_precisions, has_bf16
from openvino_eval.samples import load_samples
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
Reference = Annotated[
    str | None,
    typer.Option(help="What to compare with: a model's name, or PATH or NAME=PATH of another. Default: the first."),
]
Precisions = Annotated[
    list[Precision] | None, typer.Option("--precision", help="What float layers run in; may be repeated.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Replace a value of the configuration; may be repeated."),
]
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
    config: Annotated[
        str | None,
        typer.Option(
            help="A configuration of nncf-mcq, or the name of a recipe: its report images, preprocessing and metrics.",
        ),
    ] = None,
    overrides: Overrides = None,
    reference: Reference = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; may be repeated. Default: those of CONFIG, or top1.")
    ] = None,
    precisions: Precisions = None,
    batch_size: Batch = None,
    threads: Threads = DEFAULT_THREADS,
    json_file: Output = None,
) -> None:
    """Score models on samples, and compare each with a reference: --reference, else CONFIG's model, else the first.

    Every model has a row for f32 and one for bf16, where the processor has it, unless --precision says otherwise.
    """
    paths, against = with_reference(parse_models(models), reference)
    available = list(Precision) if has_bf16() else [Precision.F32]
    wanted = check_precisions(precisions or available)
    if (data is None) == (config is None):
        raise EvaluationError("--data or --config: one of the two is needed: a .npz archive, or a configuration")
    if data is not None:
        check_options(["overrides"] if overrides else [], "needs --config")
        task = Task.from_archive(data, metric)
    else:
        job = Job.read(find_config(config or ""), parse_overrides(overrides or []))
        task = Task.from_job(job, metric, with_model=reference is None)
    rows: dict[str, tuple[Path | ov.Model, Precision]] = {}
    if task.float_model is not None and FLOAT_MODEL not in paths:
        rows[FLOAT_MODEL] = (task.float_model, Precision.F32)
        against = FLOAT_MODEL
    # The reference is in f32, whatever the rows are.
    elif Precision.F32 not in wanted:
        rows[against] = (paths[against], Precision.F32)
    for name, path in paths.items():
        for precision in wanted:
            rows[labelled(name, precision)] = (path, precision)
    with progress_bar("inference", len(rows) * len(task.samples)) as advance:
        report = measure_accuracy(
            rows, task, reference=against, batch_size=batch_size, threads=threads, progress=advance
        )
    finish(accuracy_table(report), json_file, report.to_dict())
    print(caption(report))


@app.command()
def benchmark(
    models: Models,
    reference: Reference = None,
    modes: Annotated[list[Mode] | None, typer.Option("--mode", help="May be repeated. Default: both.")] = None,
    precisions: Precisions = None,
    rounds: Annotated[int, typer.Option(help="Turns of each model and mode; the models take turns.", min=1)] = 5,
    seconds: Annotated[int, typer.Option(help="Length of one turn.", min=1)] = 2,
    threads: Threads = DEFAULT_THREADS,
    streams: Annotated[
        int | None, typer.Option(help="Inferences side by side for the throughput; by default as many as threads.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show precision, kernel and time of every layer.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the raw reports. Default: benchmark_reports/<date>-<time>."),
    ] = None,
    json_file: Output = None,
) -> None:
    """Run OpenVINO's benchmark_app on models in turns: latency, throughput, and what ran in each layer."""
    paths, against = with_reference(parse_models(models), reference)
    folder = output or Path("benchmark_reports") / time.strftime("%Y%m%d-%H%M%S")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EvaluationError(f"--output: found {folder}, allowed: a new or an empty folder")
    candidates = {
        labelled(name, precision): Candidate(path, precision)
        for name, path in paths.items()
        for precision in check_precisions(precisions or [Precision.F32])
    }
    chosen = modes or list(Mode)
    with progress_bar("benchmark_app", count_runs(len(candidates), len(chosen), rounds)) as advance:
        result = run_benchmark(
            candidates,
            folder,
            reference=next(name for name, item in candidates.items() if item.path == paths[against]),
            modes=chosen,
            rounds=rounds,
            seconds=seconds,
            threads=threads,
            streams=streams,
            progress=advance,
        )
    tables = [*figure_tables(result), *(layer_table(*item) for item in result.layers.items() if layers)]
    finish(tables, json_file, result.to_dict())
    print("\n".join([settings_line(result), *integer_lines(result), f"reports: {folder}"]))
    for warning in result.warnings():
        print(f"warning: {warning}", file=sys.stderr)


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


def with_reference(paths: dict[str, Path], reference: str | None) -> tuple[dict[str, Path], str]:
    """The models with the one that the others are compared with.

    Args:
        paths: Name -> path.
        reference: One of the names, or `PATH` or `NAME=PATH` of another model, which is then put first; None takes the
            first.

    Returns:
        Name -> path, and the name of the reference.

    Raises:
        EvaluationError: There is no such model, or it has the name of another one.
    """
    if reference is None or reference in paths:
        return paths, reference or next(iter(paths))
    ((name, path),) = parse_models([reference]).items()
    for known, other in paths.items():
        if other == path:
            return paths, known
    if not path.is_file():
        raise EvaluationError(f"--reference: found {reference!r}, allowed: a file, or one of {', '.join(paths)}")
    if name in paths:
        raise EvaluationError(f"two models are named {name!r}: name the reference, as in NAME={path}")
    return {name: path, **paths}, name


def labelled(name: str, precision: Precision) -> str:
    """A model's name in a table that has a row for each precision.

    Args:
        name: Of the model.
        precision: What its float layers run in.
    """
    return name if precision is Precision.F32 else f"{name} ({precision})"


def finish(tables: Table | Sequence[Table], json_file: Path | None, result: Any) -> None:
    """Show a result, and write it where asked.

    Args:
        tables: For the terminal.
        json_file: Where to write `result`, if anywhere.
        result: Plain data.

    Raises:
        EvaluationError: The file cannot be written.
    """
    # A pipe has no width of its own; 80 columns would cut the figures.
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in [tables] if isinstance(tables, Table) else tables:
        console.print(table)
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
