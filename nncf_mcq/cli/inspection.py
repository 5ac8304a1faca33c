"""`nncf-mcq layers`, `clipping` and `latency-table`: what is known of a model before it is quantized."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nncf_mcq.cli.application import application, console, errors
from nncf_mcq.cli.arguments import BaselineOption, ConfigArgument, NoCodeOption, OverrideOption, read_job
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.help_text import examples
from nncf_mcq.utils.output_folder import check_folder
from nncf_mcq.utils.progress import Stages

if TYPE_CHECKING:
    from nncf_mcq.job import Job
    from nncf_mcq.model.layers import QuantizableModel


@application.command(
    epilog=examples(
        "nncf-mcq layers config.json",
        "nncf-mcq layers config.json --json",
    )
)
def layers(
    config: ConfigArgument,
    overrides: OverrideOption = None,
    no_code: NoCodeOption = False,
    baseline: BaselineOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the layers as JSON instead.")] = False,
) -> None:
    """List the layers that would be quantized in the model of CONFIG, and the reachable budgets.

    Where there are images, also checks that they have the shape that the model takes.
    """
    from nncf_mcq.model.layers import find_layers
    from nncf_mcq.summaries.samples import check_samples

    job = read_job(config, overrides, baseline, no_code=no_code)
    model = job.openvino_model()
    quantizable = find_layers(model, job.config.compression.ignored_scopes)
    if as_json:
        listed = (dataclasses.asdict(item) | {"integer_kernel": item.integer_kernel} for item in quantizable.layers)
        print(json.dumps(list(listed), indent=2))
    else:
        _show_layers(job, quantizable)
    # Last: names of layers are of use whatever the images are.
    unchecked = check_samples(job, model)
    if unchecked is not None:
        errors.print(f"note: the images are not checked: {unchecked}", markup=False, soft_wrap=True)


def _show_layers(job: Job, quantizable: QuantizableModel) -> None:
    from nncf_mcq.summaries import layers as layer_listing

    console.print(layer_listing.layer_table(quantizable))
    for table in (layer_listing.float_table(quantizable), layer_listing.float_kernel_table(quantizable)):
        if table is not None:
            console.print(table)
    console.print(layer_listing.budget_table(quantizable, job.config.compression))
    for line in layer_listing.budget_lines(quantizable, job.config.compression):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


@application.command(
    epilog=examples(
        "nncf-mcq clipping config.json --output clipping",
    )
)
def clipping(
    config: ConfigArgument,
    overrides: OverrideOption = None,
    no_code: NoCodeOption = False,
    baseline: BaselineOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of clipping.json and clipping.svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead.")] = False,
) -> None:
    """Show the clipping rule chosen for each layer of CONFIG at each bit-width, and the error of each rule alone."""
    from nncf_mcq.summaries import clipping as clipping_report

    job = read_job(config, overrides, baseline, no_code=no_code)
    check_folder(output)
    if as_json:
        report = clipping_report.measure_clipping(job)
        print(json.dumps(report.to_dict(), indent=2))
    else:
        with ConsoleProgress() as progress:
            report = clipping_report.measure_clipping(job, progress)
        console.print(clipping_report.clipping_table(report))
        console.print(clipping_report.summary_table(report))
    for path in report.save(output) if output is not None else []:
        (errors if as_json else console).print(str(path), soft_wrap=True, highlight=False)


@application.command(
    epilog=examples(
        "nncf-mcq latency-table config.json",
        "nncf-mcq latency-table config.json --precision bf16 --policy quantized/policy.json",
    )
)
def latency_table(
    config: ConfigArgument,
    overrides: OverrideOption = None,
    no_code: NoCodeOption = False,
    precisions: Annotated[
        list[str] | None, typer.Option("--precision", help="f32, bf16; may be repeated. Default: f32.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Measure again even if a table is cached.")] = False,
    policies: Annotated[
        list[Path] | None, typer.Option("--policy", help="A policy.json whose latency is predicted; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for a copy of each table, `latency-<precision>.json`.")
    ] = None,
) -> None:
    """Measure the latency of each layer of CONFIG's model in int8 and in floating point on this machine.

    Tables are cached in the user's cache directory. No images are needed.
    """
    from nncf_mcq.policy import Policy
    from nncf_mcq.summaries import latency as latency_report

    job = read_job(config, overrides, no_code=no_code)
    with ConsoleProgress() as progress:
        report = latency_report.make_report(job, precisions or ["f32"], Stages(progress), refresh=refresh)
    console.print(latency_report.latency_table(report))
    for line in latency_report.summary(report, [(str(file), Policy.from_file(file)) for file in policies or []]):
        console.print(line, soft_wrap=True, highlight=False)
    for path in report.save(output) if output is not None else []:
        console.print(str(path), soft_wrap=True, highlight=False)
