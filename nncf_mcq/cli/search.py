"""`nncf-mcq quantize` and `worker`: what searches and writes a model, and what helps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from nncf_mcq.cli.deployment import show_deployment
from nncf_mcq.config.output_files import DEPLOYMENT_FOLDER
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.help_text import examples
from nncf_mcq.utils.interrupts import INTERRUPTED, uninterrupted
from nncf_mcq.utils.output_folder import output_folder

if TYPE_CHECKING:
    from nncf_mcq.result import QuantizationResult

StudyNameOption = Annotated[
    str | None, typer.Option(help="Name of the search in the storage; by default searches are numbered.")
]

JOURNAL_FILE = "study.journal"
"""The journal of a search in the output folder."""

TUNING_FILE = "tuning.pt"
"""An unfinished tuning in the output folder."""


@application.command(
    epilog=examples(
        "nncf-mcq quantize config.json --output quantized",
        "nncf-mcq quantize config.json --output small --set compression.weights.bits=[4,8]",
        "nncf-mcq quantize config.json --output quantized --resume",
    )
)
def quantize(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the IR and the files about it.")],
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    study_storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL", help="Where the search is stored: a journal file, or the URL of an Optuna storage."
        ),
    ] = None,
    study_name: StudyNameOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted search or tuning, or extend a finished search.")
    ] = False,
    deploy: Annotated[
        bool, typer.Option("--deploy", help=f"Also write OUTPUT/{DEPLOYMENT_FOLDER}, as `nncf-mcq deploy OUTPUT` does.")
    ] = False,
    no_code: NoCodeOption = False,
    quiet: QuietOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Quantize the model of CONFIG and write model.xml, model.bin, policy.json, config.json and result.json.

    A search stores its scores in OUTPUT/study.journal, or in --study-storage, a tuning what it has learned in
    OUTPUT/tuning.pt. Progress goes to standard error.
    """
    job = read_job(config, overrides, baseline, no_code=no_code)
    if deploy:
        from nncf_mcq.deployment.document import DEPLOYMENT_FILE
        from nncf_mcq.deployment.folder import check_replaceable

        # Found out now rather than after the search.
        check_replaceable(output / DEPLOYMENT_FOLDER, DEPLOYMENT_FILE)
    storage = study_storage or str(output / JOURNAL_FILE)
    with output_folder(output):
        try:
            with ConsoleProgress(quiet=quiet) as progress:
                result = job.run(
                    progress,
                    study_storage=storage,
                    study_name=study_name,
                    resume=resume,
                    tuning_checkpoint=output / TUNING_FILE,
                    origin=origin_of(config),
                )
        except (KeyboardInterrupt, OSError):
            # A full disk ends a search too.
            if job.initializer().searches and ("://" in storage or Path(storage).exists()):
                errors.print("the scores so far are stored: repeat the command with --resume to continue")
            raise
        show_result(result, output, quiet=quiet, as_json=as_json)
        if deploy:
            from nncf_mcq.deployment import deploy as write_deployment

            written = write_deployment(output)
            if not (quiet or as_json):
                show_deployment(written, output / DEPLOYMENT_FOLDER)


@application.command(
    epilog=examples(
        "nncf-mcq worker config.json --study-storage quantized/study.journal",
    )
)
def worker(
    config: ConfigArgument,
    study_storage: Annotated[
        str, typer.Option(metavar="FILE|URL", help="The search's journal file, e.g. OUTPUT/study.journal, or URL.")
    ],
    study_name: StudyNameOption = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the search to begin.")] = 600.0,
    overrides: OverrideOption = None,
    baseline: BaselineOption = None,
    no_code: NoCodeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Join the search of `quantize CONFIG` that runs in another process or on another machine."""
    from nncf_mcq.worker import work

    job = read_job(config, overrides, baseline, no_code=no_code)
    with ConsoleProgress(quiet=quiet) as progress:
        report = work(job, study_storage, study_name=study_name, wait=wait, progress=progress)
    console.print(
        f"{report.study}: {report.scored} policies scored here, {report.evaluations} in total"
        f"{', interrupted' if report.interrupted else ''}",
        soft_wrap=True,
        highlight=False,
    )
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)


def show_result(result: QuantizationResult, output: Path, *, quiet: bool, as_json: bool) -> None:
    """Writes a result and prints it as the options say."""
    from nncf_mcq.summaries.result import result_lines, result_table

    saved = False
    try:
        # An IR is short work, and half of one is none.
        with uninterrupted():
            xml = result.save(output)
            saved = True
    except KeyboardInterrupt:
        if saved:
            errors.print(f"the model is saved and verified: {xml}", markup=False)
        raise
    if as_json:
        print(json.dumps({"model": str(xml), **result.to_dict()}, indent=2))
    elif not quiet:
        console.print(result_table(result))
        for line in result_lines(result, output):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
