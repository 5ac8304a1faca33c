"""A fixture for each broken class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nncf_mcq.testing import Section


def section_of(name: str, **parameters: Any) -> Callable[[object], Section]:
    """The fixture `section` of a class.

    Args:
        name: Its type.
        parameters: Its parameters.
    """

    @pytest.fixture(name="section")
    def section(self: object) -> Section:
        return {"type": name, **parameters}

    return section
