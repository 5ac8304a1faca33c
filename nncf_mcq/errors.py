"""The errors that a user can cause: each says what was found, where, and what is allowed."""

from __future__ import annotations


def reason_of(error: BaseException, limit: int = 300) -> str:
    """The message of a library's exception in one line, without where in OpenVINO's sources it was raised.

    Args:
        error: The exception; its type stands for an empty message, and for one that cannot be told.
        limit: Characters that are kept.
    """
    try:
        message = str(error)
    except Exception:  # the class may be the user's
        message = ""
    lines = (line.strip() for line in message.splitlines())
    text = " ".join(line for line in lines if line and not line.startswith(("Exception from ", "Check '")))
    return text[:limit] or type(error).__name__


LONGEST_VALUE = 200
"""Characters of a value that a message shows."""


def shown(value: object) -> str:
    """A value as a message shows it: its beginning, where it is long.

    Args:
        value: Any JSON value, however large or deep.
    """
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}...")
    try:
        # What is long anyway is not written out whole.
        text = repr(value[: LONGEST_VALUE + 1] if isinstance(value, list | tuple) else value)
    except (RecursionError, ValueError):
        return f"a value of type {type(value).__name__} that is too large to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def in_one_line(path: str) -> str:
    """A path of any text, as a message shows it: what is no visible character is escaped."""
    text = "".join(part if part.isprintable() else repr(part)[1:-1] for part in path[: LONGEST_VALUE + 1])
    return text if len(path) <= LONGEST_VALUE else f"{text}..."


class NncfMcqError(Exception):
    """Base of every error raised on bad input; the CLI prints its message and exits with a non-zero code."""


class ConfigError(NncfMcqError):
    """A value of the configuration that cannot be used.

    Args:
        path: Where, as a path in the JSON, e.g. `compression.weights.bits[2]`.
        found: The value found there.
        allowed: What may stand there instead, in words.
    """

    def __init__(self, path: str, found: object, allowed: str) -> None:
        super().__init__(f"{in_one_line(path)}: found {shown(found)}, allowed: {allowed}")
        self.path = path
        self.found = found
        self.allowed = allowed


class BudgetError(NncfMcqError):
    """A budget that no policy can meet; the message names the reachable range."""


class QuantizationError(NncfMcqError):
    """A model or its data that cannot be quantized, e.g. non-finite weights."""


class ConversionError(QuantizationError):
    """A PyTorch model that OpenVINO cannot convert, perhaps for the shape of its input only."""


class VerificationError(NncfMcqError):
    """A written IR that does not give the outputs of the scored model; the message says where it is kept."""


class StorageError(NncfMcqError):
    """A storage of scores whose server went away and did not come back; what had been scored is stored there."""


class HostVersionError(NncfMcqError, ImportError):
    """A version of NNCF, or of another package that this one works inside of, without what is used of it."""


class OutputError(NncfMcqError):
    """Files that cannot be written; the message says where, why, and what is kept."""
