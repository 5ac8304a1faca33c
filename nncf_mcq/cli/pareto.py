"""`nncf-mcq pareto`: the front of file size against loss, and a model of any size on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nncf_mcq.cli.application import application, console, errors
from nncf_mcq.cli.arguments import (
    BaselineOption,
    ConfigArgument,
    NoCodeOption,
    OverrideOption,
    QuietOption,
    origin_of,
    read_job,
)
from nncf_mcq.cli.replacement import OverwriteOption, Replacement
from nncf_mcq.cli.search import JOURNAL_FILE, save_result, show_result
from nncf_mcq.config.output_files import PARETO_FILE
from nncf_mcq.config.sizes import SIZES, parse_size
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.help_text import examples
from nncf_mcq.utils.interrupts import uninterrupted
from nncf_mcq.utils.output_folder import output_folder


@application.command(
    epilog=examples(
        "nncf-mcq pareto config.json --output front",
        "nncf-mcq pareto config.json --output front --at 2.5MB",
    )
)
def pareto(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the front, and for the IR of --at.")],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="SIZE", help=f"Write the best model that is at most so large: {SIZES}."),
    ] = None,
    points: Annotated[int, typer.Option(min=2, max=100, help="Number of sizes that policies are found for.")] = 10,
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    overwrite: OverwriteOption = False,
    no_code: NoCodeOption = False,
    quiet: QuietOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the front, or the result of --at, as JSON, and nothing else.")
    ] = False,
) -> None:
    """Find the front of file size against loss for the model of CONFIG; with --at, write the model of a size.

    Bit-widths are those of compression.weights.bits, whatever precision initializer CONFIG has; its budget or goal is
    ignored, and activations keep their largest bit-width. Writes pareto.json, pareto.png, pareto.svg and report.html.
    With --at, a front of the same model, images and configuration in OUTPUT is used again, without a search, and the
    IR and its files are written as quantize does. Scores are stored in OUTPUT/study.journal.
    """
    from nncf_mcq.summaries.pareto import front_lines, front_table, write_front

    if at is not None:
        parse_size(at, "--at")
    job = read_job(config, overrides, baseline, no_code=no_code)
    with output_folder(output):
        replacement = Replacement(output, overwrite=overwrite)
        check = replacement.check_front(job.config, takes_model=at is not None)
        file, storage = output / PARETO_FILE, output / JOURNAL_FILE
        known = file if at is not None and file.exists() else None
        origin = origin_of(config)
        with ConsoleProgress(quiet=quiet) as progress:
            try:
                front = job.pareto(
                    progress, points=points, known=known, at=at, study_storage=storage, check=check, origin=origin
                )
            except (KeyboardInterrupt, OSError):
                if storage.exists():
                    errors.print("the scores so far are stored: repeat the command to continue")
                raise
            if front.is_new:
                with uninterrupted():
                    files = [front.save(output), *write_front(front.report, output)]
            try:
                result = None if at is None else front.take(at)
            except KeyboardInterrupt:
                errors.print("the front so far and all scores are stored: repeat the command to continue")
                raise
        if not (quiet or as_json):
            if front.is_new:
                console.print(front_table(front.report))
            for line in front_lines(front.report, files) if front.is_new else [f"front: {file}, found before"]:
                console.print(line, soft_wrap=True, highlight=False, markup=False)
        if result is not None:
            show_result(result, output, save_result(result, output), quiet=quiet, as_json=as_json)
        elif as_json:
            print(json.dumps(front.report.to_dict(), indent=2))
