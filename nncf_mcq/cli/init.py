"""`nncf-mcq init`: a first configuration."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from nncf_mcq.cli.application import application, console
from nncf_mcq.config.model_reference import CODELESS_SUFFIXES, MODEL_REFERENCES
from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.absence import without_library
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.garbage import rare_collection
from nncf_mcq.utils.help_text import examples
from nncf_mcq.utils.output_folder import check_folder


@application.command(
    epilog=examples(
        "nncf-mcq init model.onnx --data images",
        "nncf-mcq init model.py:create_model --data images --shape 1,3,224,224 --checkpoint trained.pt",
    )
)
def init(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help=f"{MODEL_REFERENCES}."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of images: one folder per class, images without labels, or idx files. For inputs that are no "
            "images, or several: an .npz file with an array (N, ...) for each input.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")] = Path("config.json"),
    shape: Annotated[
        str | None, typer.Option(help="Input shape if the model leaves it open, e.g. 1,3,224,224.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Load torchvision's trained weights.")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="File with the state dict of a PyTorch model.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the JSON file if it exists.")] = False,
) -> None:
    """Write a first configuration for MODEL and a folder of images, and say what it assumes."""
    if output.exists() and not (force and output.is_file()):
        raise ConfigError("--output", str(output), "a file that does not exist yet, or --force to replace one")
    # Not first after all the work.
    check_folder(output.parent)
    with rare_collection(), ExitStack() as stack:
        if model.endswith(CODELESS_SUFFIXES):
            # NNCF imports it wherever it finds it, which takes longer than all the rest.
            stack.enter_context(without_library("torch"))
        from nncf_mcq.starter import make_array_config, make_initial_config

        sides = _parse_shape(shape)
        if data.is_file() or data.suffix == ".npz":
            if sides is not None:
                raise ConfigError("--shape", shape, "nothing beside an .npz file: its arrays have the shapes")
            starter = make_array_config(model, data, output, pretrained=pretrained, checkpoint=checkpoint)
        else:
            starter = make_initial_config(
                model, data, output, shape=sides, pretrained=pretrained, checkpoint=checkpoint
            )
    write_text_atomically(output, starter.text)
    console.print("\n".join(f"- {note}" for note in starter.notes), highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"wrote {output}; next:\n  nncf-mcq quantize {output} --output quantized\n  openvino-eval report quantized",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _parse_shape(text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers = text.replace("x", ",").split(",")
    if not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise ConfigError("--shape", text, "positive numbers with commas, e.g. 1,3,224,224")
    return [int(number) for number in numbers]
