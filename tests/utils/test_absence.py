"""Libraries that are not imported though they are installed."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

import pytest

from nncf_mcq.utils import without_library

UNUSUAL = "this"
"""A module of the standard library that nothing imports."""


def test_a_library_is_missing_inside_only() -> None:
    assert UNUSUAL not in sys.modules
    with without_library(UNUSUAL):
        assert find_spec(UNUSUAL) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(UNUSUAL)
    assert UNUSUAL not in sys.modules
    assert find_spec(UNUSUAL) is not None


def test_it_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), without_library(UNUSUAL):
        raise ValueError("inside")
    assert UNUSUAL not in sys.modules


def test_one_that_is_imported_stays() -> None:
    with without_library("pytest"):
        assert importlib.import_module("pytest") is pytest
    assert sys.modules["pytest"] is pytest
