"""The package for users of Intel Neural Compressor, where that is not installed; `tests/hosts/inc` has the others."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_without_intel_neural_compressor_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neural_compressor", None)
    with pytest.raises(ImportError, match=r"Neural Compressor 3\.10 or newer: pip install neural-compressor-pt"):
        importlib.import_module("nncf_mcq.inc")
