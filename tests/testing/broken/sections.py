"""A fixture for each broken class."""

from __future__ import annotations

from typing import Any

import pytest

from nncf_mcq.testing import Section


def section_of(name: str, **parameters: Any) -> Any:
    """The fixture `section` of a class; what a fixture is, is private to pytest.

    Args:
        name: Its type.
        parameters: Its parameters.
    """

    @pytest.fixture(name="section")
    def section(self: object) -> Section:
        return {"type": name, **parameters}

    return section
