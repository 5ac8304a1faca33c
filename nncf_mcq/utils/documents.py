"""Reading typed JSON documents: one reader, and one message for what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nncf_mcq.errors import NncfMcqError

Document = TypeVar("Document")


class DocumentError(NncfMcqError):
    """A file that is missing, or is not the document that its name says.

    Args:
        file: The file.
        problem: In words, what is wrong with it and where in it.
    """

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file
        self.problem = problem


def read_document(file: Path, kind: type[Document]) -> Document:
    """Reads a JSON file.

    Args:
        file: The file.
        kind: A pydantic model, or a list of one, e.g. `list[Model]`.

    Raises:
        DocumentError: The file cannot be read, is no JSON, or holds something else.
    """
    try:
        return TypeAdapter(kind).validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise DocumentError(file, "no such file") from error
    except OSError as error:
        raise DocumentError(file, f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise DocumentError(file, first_problem(error)) from error


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a document, after the place where it is: `layers.0.name: Field required`.

    Args:
        error: What pydantic raised.
    """
    first: Any = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where + ': ' if where else ''}{first['msg']}"
