"""Parts of Intel Neural Compressor that it does not promise to keep: a version without one fails here, by its name."""

from __future__ import annotations

from importlib.metadata import version

import pytest

import nncf_mcq.inc  # noqa: F401
from nncf_mcq.inc.hooks import INC_HOOKS
from nncf_mcq.utils.hooks import missing_hooks
from tests.host_hooks import ROOT, message_without, misplaced, unlisted, unlisted_overrides

FILES = sorted((ROOT / "nncf_mcq" / "inc").glob("*.py"))


@pytest.mark.parametrize("file", INC_HOOKS)
def test_intel_neural_compressor_has_what_is_used_of_it(file: str) -> None:
    assert missing_hooks({file: INC_HOOKS[file]}) == {}


def test_the_list_is_whole() -> None:
    assert unlisted(FILES, "neural_compressor", INC_HOOKS, lambda module: False) == []
    modules = [f"nncf_mcq.inc.{file.stem}" for file in FILES if file.stem != "__init__"]
    assert unlisted_overrides(modules, "neural_compressor", INC_HOOKS) == []
    assert len(unlisted_overrides(modules, "neural_compressor", {})) > 5
    assert misplaced(INC_HOOKS) == []


def test_a_hook_that_is_gone_is_one_clear_line() -> None:
    removal = (
        "import neural_compressor.torch.quantization, neural_compressor.torch.utils as module\n"
        "del module.postprocess_model"
    )
    assert message_without(removal, "import nncf_mcq.inc") == (
        f"nncf_mcq.errors.HostVersionError: Intel Neural Compressor: found {version('neural_compressor_pt')}, "
        "which has no neural_compressor.torch.utils.postprocess_model(model, mode, quantizer) "
        "(for nncf_mcq/inc/quantizer.py); allowed: 3.10"
    )
