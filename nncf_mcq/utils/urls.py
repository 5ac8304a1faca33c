"""URLs that are shown or written: without the secrets in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"

# Up to the last @: a password may hold any character, also those that should have been written as %2F.
_USER = re.compile(r"(?<=://)([^:/@?#\s]*):(\S*)@")
_PARAMETER = re.compile(
    r"([?&;][^=&;\s]*(?:pass|pwd|secret|token|key|auth|credential)[^=&;\s]*=)([^&;\s]*)", re.IGNORECASE
)


def without_password(text: str) -> str:
    """A text in which the passwords of URLs are hidden, in whatever form they are written.

    Args:
        text: A URL, a command line, or a message.
    """
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1:{HIDDEN}@", text))


def without_secrets(text: str, url: str) -> str:
    """A message about a URL in which its secrets are hidden, also where they stand alone.

    Args:
        text: The message, e.g. of a driver.
        url: The URL.
    """
    found = [match[2] for pattern in (_USER, _PARAMETER) for match in pattern.finditer(url)]
    for secret in sorted({*found, *map(unquote, found)}, key=len, reverse=True):
        if secret:
            text = text.replace(secret, HIDDEN)
    return without_password(text)
