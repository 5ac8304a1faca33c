"""With NNCF 3 there is nothing to register with; the tests inside NNCF 2 are in tests/hosts/nncf2."""

from __future__ import annotations

import sys

import pytest


def test_the_import_says_which_nncf_it_needs() -> None:
    sys.modules.pop("nncf_mcq.nncf2", None)
    with pytest.raises(ImportError, match=r"^nncf_mcq\.nncf2: found NNCF 3\.4\.0, allowed: 2\.19"):
        import nncf_mcq.nncf2  # noqa: F401
