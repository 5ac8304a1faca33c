"""Reads the JSON files of this package and of `nncf_mcq`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from nncf_mcq.utils import DocumentError, read_document
from openvino_eval.errors import EvaluationError

Document = TypeVar("Document")


def read(file: Path, kind: type[Document]) -> Document:
    """Read a JSON file.

    Args:
        file: The file.
        kind: A pydantic model, or a list of one.

    Raises:
        EvaluationError: The file is missing, or is not what its name says.
    """
    try:
        return read_document(file, kind)
    except DocumentError as error:
        raise EvaluationError(str(error)) from error
