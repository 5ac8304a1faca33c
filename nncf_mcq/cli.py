"""`nncf-mcq`: the command line."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nncf_mcq import clipping_report
from nncf_mcq import config as configuration
from nncf_mcq.config import Config
from nncf_mcq.console_progress import ConsoleProgress
from nncf_mcq.costs import CostModel
from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.files import write_text_atomically
from nncf_mcq.job import Job, parse_overrides
from nncf_mcq.latency import report as latency_report
from nncf_mcq.layers import QuantizableModel, find_layers
from nncf_mcq.library_logs import silence_cuda_notice
from nncf_mcq.policy import Policy
from nncf_mcq.progress import Stages
from nncf_mcq.recipes import baselines as shipped_baselines
from nncf_mcq.recipes import config_name, find_baseline, find_config, recipe_names
from nncf_mcq.registry import load_plugins
from nncf_mcq.starter import make_starter
from nncf_mcq.summary import result_lines, result_table
from nncf_mcq.worker import work

_HELP = "Mixed-precision quantization of convolutional networks for OpenVINO, from a JSON configuration."

application = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=_HELP, rich_markup_mode=None
)
_console = Console()
if not _console.is_terminal:
    # A pipe has no width: lines as wide as they need, rather than names cut at 80 columns.
    _console = Console(width=200)
_errors = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="A JSON file, or the name of a recipe.")]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Replace a value of the configuration; may be repeated."),
]

BaselineOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="Replace what makes a baseline: see `nncf-mcq baselines`. --set goes on from there."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no table, only errors.")]

StudyNameOption = Annotated[
    str | None, typer.Option(help="Name of the search in the storage; by default they are numbered.")
]

JOURNAL_FILE = "study.journal"
"""The journal of a search in the output folder."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@application.command()
def init(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="An .onnx or .xml file, PACKAGE.MODULE:CALLABLE, or FILE.py:CALLABLE."),
    ],
    data: Annotated[Path, typer.Option(help="Folder of images: of one folder a class, of any, or of idx files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file.")] = Path("config.json"),
    shape: Annotated[str | None, typer.Option(help="Shape of one input where it is open: 1,3,224,224.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Let torchvision load its trained weights.")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="File with the state dict of a PyTorch model.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the JSON file if it exists.")] = False,
) -> None:
    """Write a first configuration for MODEL and a folder of images, and say what it assumes."""
    if output.exists() and not (force and output.is_file()):
        raise ConfigError("--output", str(output), "a file that does not exist yet, or --force to replace one")
    starter = make_starter(model, data, output, shape=_parse_shape(shape), pretrained=pretrained, checkpoint=checkpoint)
    write_text_atomically(output, starter.text)
    _console.print("\n".join(f"- {note}" for note in starter.notes), highlight=False, soft_wrap=True, markup=False)
    _console.print(
        f"wrote {output}; next:\n  nncf-mcq quantize {output} --output quantized\n  openvino-eval report quantized",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


@application.command()
def quantize(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the IR and its reports.")],
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    study_storage: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Where a search is kept: a journal file or a URL of Optuna.")
    ] = None,
    study_name: StudyNameOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted search, or extend one.")] = False,
    quiet: QuietOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Quantize the model of CONFIG and write model.xml, model.bin, policy.json, config.json and result.json.

    A search that scores policies keeps them in OUTPUT/study.journal, or in --study-storage. Progress goes to standard
    error.
    """
    job = _read(config, overrides, baseline)
    if output.exists() and not output.is_dir():
        raise ConfigError("--output", str(output), "a folder")
    storage = study_storage or str(output / JOURNAL_FILE)
    try:
        with ConsoleProgress(quiet=quiet) as progress:
            result = job.run(progress, study_storage=storage, study_name=study_name, resume=resume)
    except KeyboardInterrupt:
        if job.initializer().searches and ("://" in storage or Path(storage).exists()):
            _errors.print("what was scored is kept: the same command with --resume goes on")
        raise
    result.origin = {"config": config_name(config), "command": shlex.join(["nncf-mcq", *sys.argv[1:]])}
    xml = result.save(output)
    if as_json:
        print(json.dumps({"model": str(xml), **result.to_dict()}, indent=2))
    elif not quiet:
        _console.print(result_table(result))
        for line in result_lines(result, output):
            _console.print(line, soft_wrap=True, highlight=False, markup=False)


@application.command()
def worker(
    config: ConfigArgument,
    study_storage: Annotated[
        str, typer.Option(metavar="FILE|URL", help="The search's journal file, e.g. OUTPUT/study.journal, or URL.")
    ],
    study_name: StudyNameOption = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the search to begin.")] = 600.0,
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    quiet: QuietOption = False,
) -> None:
    """Help the search of `quantize CONFIG`, which runs in another process or on another machine."""
    job = _read(config, overrides, baseline)
    with ConsoleProgress(quiet=quiet) as progress:
        report = work(job, study_storage, study_name=study_name, wait=wait, progress=progress)
    _console.print(
        f"{report.study}: {report.scored} policies scored here, {report.evaluations} in all"
        f"{', interrupted' if report.interrupted else ''}",
        soft_wrap=True,
        highlight=False,
    )
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)


@application.command()
def layers(
    config: ConfigArgument,
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the layers as JSON instead.")] = False,
) -> None:
    """List what would be quantized in the model of CONFIG, and which budgets can be reached."""
    job = _read(config, overrides, baseline)
    quantizable = find_layers(job.openvino_model(), job.config.compression.ignored_scopes)
    if as_json:
        print(json.dumps([dataclasses.asdict(layer) for layer in quantizable.layers], indent=2))
        return
    _print_layers(quantizable)
    _print_reachable(quantizable, job.config)


@application.command()
def latency_table(
    config: ConfigArgument,
    overrides: OverrideOption = None,
    precisions: Annotated[
        list[str] | None, typer.Option("--precision", help="f32, bf16; may be repeated. Default: f32.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Measure anew even where a table is kept.")] = False,
    policies: Annotated[
        list[Path] | None, typer.Option("--policy", help="A policy.json to predict; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for a copy of each table, latency-<precision>.json.")
    ] = None,
) -> None:
    """Measure what each layer of CONFIG's model takes in int8 and in floating point on this machine.

    Tables are kept in the user's cache directory; the layers need no images.
    """
    job = _read(config, overrides, None)
    with ConsoleProgress() as progress:
        report = latency_report.make_report(job, precisions or ["f32"], Stages(progress), refresh=refresh)
    _console.print(latency_report.layer_table(report))
    for line in latency_report.summary(report, [(str(file), Policy.from_file(file)) for file in policies or []]):
        _console.print(line, soft_wrap=True, highlight=False)
    for path in report.save(output) if output is not None else []:
        _console.print(str(path), soft_wrap=True, highlight=False)


@application.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    print(json.dumps(configuration.json_schema(), indent=2))


@application.command()
def recipes() -> None:
    """List the recipes that ship with the package; each name can stand in the place of CONFIG."""
    for name in recipe_names():
        print(name)


@application.command()
def baselines() -> None:
    """List the baselines that ship with the package, for `quantize CONFIG --baseline NAME`."""
    for name, baseline in shipped_baselines().items():
        print(f"{name:<20} {baseline.description}")


@application.command()
def clipping(
    config: ConfigArgument,
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of clipping.json and clipping.svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead.")] = False,
) -> None:
    """Show which clipping rule suits each layer of CONFIG at each width, and what each rule alone would leave."""
    job = _read(config, overrides, baseline)
    if output is not None and output.exists() and not output.is_dir():
        raise ConfigError("--output", str(output), "a folder")
    if as_json:
        report = clipping_report.measure_clipping(job)
        print(json.dumps(report.to_dict(), indent=2))
    else:
        with ConsoleProgress() as progress:
            report = clipping_report.measure_clipping(job, progress)
        _console.print(clipping_report.layer_table(report))
        _console.print(clipping_report.summary_table(report))
    for path in report.save(output) if output is not None else []:
        (_errors if as_json else _console).print(str(path), soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point: a user's mistake is one message on standard error and exit code 2."""
    silence_cuda_notice()
    try:
        load_plugins()
        application()
    except NncfMcqError as error:
        _errors.print(f"error: {error}", markup=False)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as error:
        # Typer turns Ctrl-C into an exit.
        if isinstance(error, SystemExit) and error.code != INTERRUPTED:
            raise
        _errors.print("interrupted")
        sys.exit(INTERRUPTED)


def _read(config: str, overrides: list[str] | None, baseline: str | None) -> Job:
    values = {} if baseline is None else find_baseline(baseline).values
    return Job.read(find_config(config), {**values, **parse_overrides(overrides or [])})


def _parse_shape(text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers = text.replace("x", ",").split(",")
    if not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise ConfigError("--shape", text, "positive numbers with commas, e.g. 1,3,224,224")
    return [int(number) for number in numbers]


def _print_layers(quantizable: QuantizableModel) -> None:
    table = Table(title=f"{len(quantizable.layers)} quantizable layers", title_justify="left")
    table.add_column("layer", overflow="fold", ratio=2)
    table.add_column("kind", no_wrap=True)
    for heading in ("weights", "shape", "size %", "MMACs", "MACs %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("activation quantizer", overflow="ellipsis", no_wrap=True, ratio=2)
    shared = any(layer.group != layer.name for layer in quantizable.layers)
    if shared:
        table.add_column("shares bits with", overflow="fold", ratio=1)
    weights, macs = quantizable.quantizable_weights, sum(layer.macs for layer in quantizable.layers)
    for layer in quantizable.layers:
        table.add_row(
            layer.name,
            layer.kind.replace("_convolution", ""),
            f"{layer.weights:,}",
            "x".join(map(str, layer.weight_shape)),
            f"{100 * layer.weights / weights:.2f}",
            f"{layer.macs / 1e6:.2f}",
            f"{100 * layer.macs / macs:.2f}",
            ", ".join(layer.activation_quantizers) or "float",
            *([layer.group if layer.group != layer.name else ""] if shared else []),
        )
    _console.print(table)


def _print_reachable(quantizable: QuantizableModel, config: Config) -> None:
    bits, widths = config.compression.weights.bits, config.compression.activations.widths
    weights = quantizable.quantizable_weights
    at_int8 = sum(layer.macs for layer in quantizable.layers) * 64
    low, high = min(bits), max(bits)
    activations = "" if len(widths) == 1 else " with activations at {}"
    table = Table(title="Reachable budgets", title_justify="left")
    table.add_column("budget")
    for width, inputs in ((low, widths[0]), (high, widths[-1])):
        table.add_column(f"all at {width} bits{activations.format(inputs)}", justify="right")
    table.add_row("weight_size.average_bits", str(low), str(high))
    table.add_row("weight_size.ratio", f"{low / 32:.4f}", f"{high / 32:.4f}")
    table.add_row("bytes of the packed weights", *(f"{weights * w // 8:,}" for w in (low, high)))
    costs = CostModel(quantizable, {point.name: widths[-1] for point in quantizable.activation_points}, None)
    bops = [
        costs.bops(
            Policy(
                {layer.name: width for layer in quantizable.layers},
                {point.name: inputs for point in quantizable.activation_points},
            )
        )
        for width, inputs in ((low, widths[0]), (high, widths[-1]))
    ]
    table.add_row("bops.total", *(f"{value:.4g}" for value in bops))
    table.add_row("bops.ratio", *(f"{value / at_int8:.4f}" for value in bops))
    _console.print(table)


if __name__ == "__main__":
    main()
