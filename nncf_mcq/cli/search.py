"""`nncf-mcq quantize` and `worker`: what searches and writes a model, and what helps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nncf_mcq.cli.application import application, console, errors
from nncf_mcq.cli.arguments import (
    BaselineOption,
    ComparedBaselineOption,
    ConfigArgument,
    NoCodeOption,
    OverrideOption,
    QuietOption,
    origin_of,
    read_job,
)
from nncf_mcq.cli.deployment import show_deployment
from nncf_mcq.cli.replacement import OverwriteOption, Replacement
from nncf_mcq.config.catalog import NO_BASELINE
from nncf_mcq.config.output_files import DEPLOYMENT_FOLDER
from nncf_mcq.utils.console_progress import ConsoleProgress
from nncf_mcq.utils.help_text import examples
from nncf_mcq.utils.interrupts import INTERRUPTED, uninterrupted
from nncf_mcq.utils.messages import last_line
from nncf_mcq.utils.output_folder import output_folder

if TYPE_CHECKING:
    from nncf_mcq.job import Job, JobInputs
    from nncf_mcq.result import QuantizationResult

StudyNameOption = Annotated[
    str | None, typer.Option(help="Name of the search in the storage; by default searches are numbered.")
]

STORAGE_VARIABLE = "NNCF_MCQ_STUDY_STORAGE"
"""Read instead of --study-storage: other users of a machine see what is on a command line, passwords in URLs too."""

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
    baseline: ComparedBaselineOption = None,
    study_storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            envvar=STORAGE_VARIABLE,
            help="Where the search is stored: a journal file, or the URL of an Optuna storage.",
        ),
    ] = None,
    study_name: StudyNameOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted search or tuning, or extend a finished search.")
    ] = False,
    overwrite: OverwriteOption = False,
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
    OUTPUT/tuning.pt. Progress goes to standard error. When the result is saved, NNCF INT8 (nncf.quantize) is made from
    the same model and images and measured, for comparison; --baseline none leaves that out.

    The same command again replaces what it wrote. A result of another configuration or model in OUTPUT is replaced only
    with --overwrite.
    """
    job = read_job(config, overrides, baseline, no_code=no_code)
    from nncf_mcq.deployment.document import DEPLOYMENT_FILE

    if deploy:
        from nncf_mcq.deployment.folder import check_replaceable

        # Found out now rather than after the search.
        check_replaceable(output / DEPLOYMENT_FOLDER, DEPLOYMENT_FILE)
    storage = study_storage or str(output / JOURNAL_FILE)
    with output_folder(output):
        replacement = Replacement(output, overwrite=overwrite)
        replacement.check_config(job.config, resume=resume)
        try:
            with ConsoleProgress(quiet=quiet) as progress:
                inputs = job.inputs(progress)
                replacement.check_model(inputs.model)
                result = job.run(
                    progress,
                    study_storage=storage,
                    study_name=study_name,
                    resume=resume,
                    tuning_checkpoint=output / TUNING_FILE,
                    origin=origin_of(config),
                    inputs=inputs,
                )
        except (KeyboardInterrupt, OSError) as error:
            # A full disk ends a search too.
            if job.initializer().searches and ("://" in storage or Path(storage).exists()):
                errors.print("the scores so far are stored: repeat the command with --resume to continue")
            elif isinstance(error, KeyboardInterrupt):
                errors.print(f"nothing is written to {output} yet", markup=False)
            raise
        xml = save_result(result, output)
        if baseline != NO_BASELINE and _is_comparable(result):
            result = compared(job, result, inputs, output, quiet=quiet)
        show_result(result, output, xml, quiet=quiet, as_json=as_json)
        if deploy:
            from nncf_mcq.deployment import deploy as write_deployment

            written = write_deployment(output)
            if not (quiet or as_json):
                show_deployment(written, output / DEPLOYMENT_FOLDER)
        elif (output / DEPLOYMENT_FOLDER / DEPLOYMENT_FILE).is_file() and not quiet:
            folder = output / DEPLOYMENT_FOLDER
            errors.print(f"warning: {folder} has an earlier model: nncf-mcq deploy {output} replaces it", markup=False)


def _is_comparable(result: QuantizationResult) -> bool:
    """Whether it was measured, and is not NNCF INT8 itself."""
    from nncf_mcq.config.nncf2 import ALGORITHM as INT8_ALGORITHM

    is_int8 = result.config.compression.algorithm == INT8_ALGORITHM
    return not is_int8 and result.search.ended_by is None and bool(result.metrics["quantized"])


def compared(
    job: Job, result: QuantizationResult, inputs: JobInputs, output: Path, *, quiet: bool
) -> QuantizationResult:
    """The saved result with NNCF INT8 beside it; the result alone, and a word, where that cannot be measured."""
    try:
        with ConsoleProgress(quiet=quiet) as progress:
            compared = job.compare_with_nncf_int8(result, inputs, progress)
        with uninterrupted():
            compared.save_document(output)
    except KeyboardInterrupt:
        reason = "interrupted"
    except Exception as error:
        # The result is there, and whatever NNCF makes of this model must not cost it.
        reason = last_line(error)
    else:
        return compared
    errors.print(f"note: NNCF INT8 is not measured beside the result: {reason}", markup=False, soft_wrap=True)
    return result


@application.command(
    epilog=examples(
        "nncf-mcq worker config.json --study-storage quantized/study.journal",
    )
)
def worker(
    config: ConfigArgument,
    study_storage: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            envvar=STORAGE_VARIABLE,
            help="The search's journal file, e.g. OUTPUT/study.journal, or URL.",
        ),
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


def save_result(result: QuantizationResult, output: Path) -> Path:
    """Writes a result.

    Args:
        result: The result.
        output: The folder.

    Returns:
        The path of the model.
    """
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
    return xml


def show_result(result: QuantizationResult, output: Path, xml: Path, *, quiet: bool, as_json: bool) -> None:
    """Prints a saved result as the options say."""
    from nncf_mcq.summaries.result import result_lines, result_table

    if as_json:
        print(json.dumps({"model": str(xml), **result.to_dict()}, indent=2))
    elif not quiet:
        console.print(result_table(result))
        for line in result_lines(result, output):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
