"""`nncf-mcq deploy`: from a quantized model to a folder that is deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nncf_mcq.cli.application import application, console
from nncf_mcq.cli.arguments import QuietOption
from nncf_mcq.config.output_files import DEPLOYMENT_FOLDER
from nncf_mcq.utils.help_text import examples

if TYPE_CHECKING:
    from nncf_mcq.deployment import Deployment


@application.command(
    epilog=examples("nncf-mcq deploy quantized", "nncf-mcq deploy quantized --output device --labels labels.txt")
)
def deploy(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `quantize` wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=f"Folder to write; an older deployment is replaced. Default: DIR/{DEPLOYMENT_FOLDER}.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model in Model Server; by default that of the configuration.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A line for each class; by default the data set's names, if known."),
    ] = None,
    quiet: QuietOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written and measured as JSON.")] = False,
) -> None:
    """Write a folder to deploy the model of DIR: preprocessing built in, examples, files for Model Server.

    The model reads 8-bit images, and is written only if it gives the outputs of the quantized model.
    """
    # No other command needs it.
    from nncf_mcq.deployment import deploy as write_deployment

    written = write_deployment(directory, output, name=name, labels=labels)
    if as_json:
        print(json.dumps(written.to_dict(), indent=2))
    elif not quiet:
        show_deployment(written, directory / DEPLOYMENT_FOLDER if output is None else output)


def show_deployment(deployment: Deployment, folder: Path) -> None:
    """Prints what was written."""
    for line in _lines(deployment, folder):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _lines(deployment: Deployment, folder: Path) -> Iterator[str]:
    from nncf_mcq.deployment.pages import same_outputs

    check = deployment.check
    if deployment.reason is None:
        shape = deployment.inputs[0].shape
        yield f"input: 8-bit images {shape}, preprocessing built in"
        yield f"on {check.images} {check.source} outputs {same_outputs(check)}"
        if check.resize_difference is not None:
            yield f"resized by the model: outputs differ by up to {check.resize_difference:.1e} of their range"
        if deployment.left_to_user:
            yield f"left to you: {'; '.join(deployment.left_to_user)}"
    else:
        yield f"input: as quantized, no preprocessing built in: {deployment.reason}"
    if deployment.device != "CPU":
        yield f"written for {deployment.device}: checked on the CPU only"
    else:
        yield f"layers on int8 kernels: {check.integer_layers} of {check.layers}"
    yield f"deployment: {folder / 'README.md'}"
