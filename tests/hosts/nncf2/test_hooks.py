"""Parts of NNCF 2 that it does not promise to keep: a version without one fails here, by its name."""

from __future__ import annotations

import pytest

import nncf_mcq.nncf2  # noqa: F401
from nncf_mcq.model.nncf_hooks import BACKEND_HOOKS, nncf_hooks
from nncf_mcq.nncf2.hooks import NNCF2_HOOKS
from nncf_mcq.utils.hooks import missing_hooks
from tests.host_hooks import ROOT, message_without, misplaced, unlisted, unlisted_overrides

FILES = sorted((ROOT / "nncf_mcq" / "nncf2").glob("*.py"))


@pytest.mark.parametrize("file", [*nncf_hooks(), *NNCF2_HOOKS])
def test_nncf_2_has_what_is_used_of_it(file: str) -> None:
    assert missing_hooks({file: {**nncf_hooks(), **NNCF2_HOOKS}[file]}) == {}


def test_its_backends_have_what_is_used_of_them() -> None:
    assert missing_hooks(BACKEND_HOOKS) == {}


def test_the_list_is_whole() -> None:
    assert unlisted(FILES, "nncf", NNCF2_HOOKS, lambda module: module == "nncf") == []
    modules = [f"nncf_mcq.nncf2.{file.stem}" for file in FILES if file.stem != "__init__"]
    assert unlisted_overrides(modules, "nncf", NNCF2_HOOKS) == []
    assert len(unlisted_overrides(modules, "nncf", {})) == 5
    assert misplaced(NNCF2_HOOKS) == []


def test_a_hook_that_is_gone_is_one_clear_line() -> None:
    removal = (
        "import nncf.torch.quantization.algo as module\ndel module.QuantizationBuilder._parse_precision_init_params"
    )
    assert message_without(removal, "import nncf_mcq.nncf2") == (
        "nncf_mcq.errors.HostVersionError: NNCF: found 2.19.0, which has no "
        "nncf.torch.quantization.algo.QuantizationBuilder._parse_precision_init_params(self, initializer_config) "
        "(for nncf_mcq/nncf2/builder.py); allowed: 2.19, the last release with create_compressed_model"
    )
