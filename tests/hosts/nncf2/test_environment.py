"""The environment of the tests is what it is taken for."""

from __future__ import annotations

import shutil
from importlib.metadata import version

import pytest


def test_nncf_is_the_last_release_with_its_json() -> None:
    from nncf import NNCFConfig
    from nncf.torch import create_compressed_model

    assert version("nncf") == "2.19.0"
    assert NNCFConfig.from_dict({"input_info": {"sample_size": [1, 3, 8, 8]}})["input_info"]["sample_size"]
    assert callable(create_compressed_model)


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_quantizers_are_compiled() -> None:
    from nncf.torch.quantization.extensions import QuantizedFunctionsCPULoader
    from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

    # Without a compiler NNCF falls back to slower ones, with a warning only.
    assert QuantizedFunctionsCPULoader.load() is not ReferenceQuantizedFunctions
