"""Messages of libraries, made short."""

from __future__ import annotations

from typing import Final


def last_line(error: BaseException) -> str:
    """The line of a runtime's message that names the problem.

    OpenVINO's messages begin with the C++ source position and say what is wrong last.

    Args:
        error: Any exception.

    Returns:
        One line without surrounding whitespace; the exception's type name where it carries no message.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


QUANTIZATION_LIBRARIES: Final = ("cmaes", "matplotlib", "networkx", "nncf", "optuna", "torch", "torchvision")
"""Requirements that measuring models does without."""


def missing_library(error: ModuleNotFoundError) -> str | None:
    """The message where a library of quantization is not installed; None where the import failed for another reason.

    Args:
        error: Of the import.
    """
    name = (error.name or "").partition(".")[0]
    if name not in QUANTIZATION_LIBRARIES:
        return None
    return f"{name} is not installed; `pip install nncf-mcq` installs all that quantization needs"
