"""Arguments and options that several commands take, and what they mean."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from openvino_eval.errors import EvaluationError
from openvino_eval.options import Precision

Models = Annotated[list[str], typer.Argument(help="Model files, each PATH or NAME=PATH.", metavar="MODEL...")]
Data = Annotated[
    Path | None,
    typer.Option(help="A .npz archive with preprocessed `images` (N, C, H, W) and `targets` (N,)."),
]
Threads = Annotated[int, typer.Option(help="Inference threads.")]
Batch = Annotated[int | None, typer.Option(help="Images per inference; by default each model's own batch size.", min=1)]
Output = Annotated[Path | None, typer.Option("--json", help="Also write the result to this JSON file.")]
Reference = Annotated[
    str | None,
    typer.Option(help="The reference: a model's name, or PATH or NAME=PATH of another. Default: the first."),
]
Precisions = Annotated[
    list[Precision] | None, typer.Option("--precision", help="Precision of float layers; may be repeated.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Replace a value of the configuration; may be repeated."),
]
Rounds = Annotated[int, typer.Option(help="Rounds; the models are interleaved.")]
TurnSeconds = Annotated[float, typer.Option(help="Length of a model's turn in a round.")]

_OPTION_NAMES = {"overrides": "set", "json_file": "json", "metrics": "metric"}


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
        raise EvaluationError(f"--{_OPTION_NAMES.get(name, name.replace('_', '-'))}: {reason}")


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
