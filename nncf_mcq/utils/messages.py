"""Messages of libraries, made short."""

from __future__ import annotations


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
