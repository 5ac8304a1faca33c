"""Text files of a data set: labels, and names of classes."""

from __future__ import annotations

from pathlib import Path

from nncf_mcq.errors import ConfigError


def read_text(file: Path, key: str) -> str:
    """The text of a UTF-8 file.

    Args:
        file: The file.
        key: Of the configuration, which names it.

    Raises:
        ConfigError: It cannot be read, or is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(key, str(file), f"a readable text file ({error})") from error
