"""Parts of NNCF and Optuna that they do not promise to keep: a version without one fails here, by its name."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nncf_mcq.errors import HostVersionError, NncfMcqError
from nncf_mcq.model.nncf_hooks import BACKEND_HOOKS, SUPPORTED_NNCF, nncf_hooks
from nncf_mcq.utils.hooks import Hooks, check_hooks, missing_hooks
from tests.host_hooks import ROOT, message_without, misplaced, unlisted, unlisted_overrides

OPTUNA_HOOKS: Hooks = {
    "nncf_mcq/precision_init/study/databases.py": (
        "optuna.study._frozen:FrozenStudy._study_id",
        "optuna.storages:GrpcStorageProxy.__getstate__",
        "optuna.storages:GrpcStorageProxy.__setstate__",
        "optuna.storages:GrpcStorageProxy.wait_server_ready",
        "optuna.storages:RDBStorage.engine",
        "optuna.storages.journal:JournalRedisBackend",
    ),
    "nncf_mcq/precision_init/study/journal.py": (
        "optuna.storages.journal:JournalFileBackend.append_logs(self, logs)",
        "optuna.storages.journal:JournalFileSymlinkLock(filepath, grace_period)",
        "optuna.storages.journal:JournalFileSymlinkLock.acquire",
        "optuna.storages.journal:JournalFileSymlinkLock.release",
    ),
}
"""Of Optuna private names, and what its manual does not describe."""

HOSTS = {name: sorted((ROOT / "nncf_mcq" / name).rglob("*.py")) for name in ("nncf2", "inc")}
COMMON = sorted(set((ROOT / "nncf_mcq").rglob("*.py")) - {file for files in HOSTS.values() for file in files})


@pytest.mark.parametrize("file", nncf_hooks())
def test_nncf_has_what_is_used_of_it(file: str) -> None:
    assert missing_hooks({file: nncf_hooks()[file]}) == {}


@pytest.mark.parametrize("hooks", [BACKEND_HOOKS, OPTUNA_HOOKS], ids=["backends of NNCF", "Optuna"])
def test_others_have_what_is_used_of_them(hooks: Hooks) -> None:
    assert missing_hooks(hooks) == {}


def test_the_lists_are_whole() -> None:
    hooks = {**nncf_hooks(), "backends": sum(BACKEND_HOOKS.values(), ())}
    # That file has the names of both generations of NNCF.
    files = [file for file in COMMON if file.stem != "nncf_versions"]
    assert unlisted(files, "nncf", hooks, lambda module: module == "nncf") == []
    assert unlisted(COMMON, "optuna", OPTUNA_HOOKS, lambda module: "._" not in module) == []
    assert unlisted_overrides(["nncf_mcq.model.algorithm"], "nncf", hooks) == []
    assert [*misplaced(nncf_hooks()), *misplaced(BACKEND_HOOKS), *misplaced(OPTUNA_HOOKS)] == []


def test_what_is_in_no_list_is_found() -> None:
    (file,) = (file for file in COMMON if file.stem == "algorithm" and file.parent.name == "model")
    found = unlisted([file], "nncf", {}, lambda module: module == "nncf")
    assert "nncf_mcq/model/algorithm.py: nncf.quantization.algorithms.pipeline:Pipeline" in found
    assert any(item.endswith("_get_weight_quantization_target_points") for item in found)
    assert "MixedClippingQuantization.find_quantization_setup" in unlisted_overrides(
        ["nncf_mcq.model.algorithm"], "nncf", {}
    )


def test_the_supported_versions_are_those_of_the_requirement() -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (requirement,) = (item for item in map(Requirement, requirements) if item.name == "nncf")
    first, last = re.findall(r"\d+\.\d+", SUPPORTED_NNCF)
    major, minor = map(int, last.split("."))
    assert requirement.specifier == SpecifierSet(f">={first},<{major}.{minor + 1}")


class Host:
    """Stands for a class of a host: attributes are annotated, set in a method, or set by a property."""

    annotated: int

    def __init__(self, number: int) -> None:
        self.number = number

    def method(self, first: int, second: int) -> int:
        return self.number + self.nowhere  # type: ignore[attr-defined]

    @property
    def value(self) -> int:
        return self._value

    @value.setter
    def value(self, value: int) -> None:
        self._value = value


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Host", None),
        ("Host(number)", None),
        ("Host.annotated", None),
        ("Host.number", None),
        ("Host.value", None),
        ("Host._value", None),
        ("Host.method(self, first, second)", None),
        ("Host.nowhere", "Host.nowhere"),
        ("Stranger.method", "Stranger.method"),
        ("Host.method(self, other)", "Host.method(self, other), but with (self, first, second)"),
    ],
)
def test_a_hook_that_is_missing_is_told_by_its_full_name(name: str, message: str | None) -> None:
    expected = {} if message is None else {f"{__name__}.{message}": "file.py"}
    assert missing_hooks({"file.py": (f"{__name__}:{name}",)}) == expected


def test_a_module_that_is_missing_is_told_and_a_package_is_not_installed() -> None:
    hooks = {"file.py": tuple(f"json.{name}:X" for name in "abcdefg")}
    with pytest.raises(HostVersionError) as caught:
        check_hooks(hooks, "pytest", "A host", "1.0")
    assert str(caught.value) == (
        f"A host: found {version('pytest')}, which has no json.a.X (for file.py); json.b.X (for file.py); "
        "json.c.X (for file.py); 4 more; allowed: 1.0"
    )
    assert isinstance(caught.value, NncfMcqError | ImportError)
    with pytest.raises(ModuleNotFoundError, match="no_such_host"):
        check_hooks({"file.py": ("no_such_host.module:X",)}, "pytest", "A host", "1.0")


MOVED = "nncf.quantization.algorithms.min_max.algorithm.MinMaxQuantization._get_stat_collector"
PARAMETERS = "(self, graph, target_point, qconfig, batchwise_statistics)"
REMOVAL = f"import {MOVED.rpartition('.MinMax')[0]} as module\ndel module.MinMaxQuantization._get_stat_collector"
MESSAGE = (
    f"NNCF: found {version('nncf')}, which has no {MOVED}{PARAMETERS} (for nncf_mcq/model/algorithm.py); "
    f"allowed: {SUPPORTED_NNCF}"
)


@pytest.mark.parametrize("program", ["import nncf_mcq; nncf_mcq.quantize", "import nncf_mcq.model.algorithm"])
def test_a_hook_that_nncf_has_moved_is_one_clear_line(program: str) -> None:
    assert message_without(REMOVAL, program) == f"nncf_mcq.errors.HostVersionError: {MESSAGE}"


def test_the_command_line_says_nothing_else() -> None:
    program = "import sys, nncf_mcq.cli\nsys.argv = ['nncf-mcq', 'layers', 'fashion_mnist']\nnncf_mcq.cli.main()"
    assert message_without(REMOVAL, program) == f"error: {MESSAGE}"


def test_a_class_that_nncf_has_moved_is_no_failed_import() -> None:
    removal = "import nncf.common.factory as module\ndel module.build_graph"
    message = message_without(removal, "import nncf_mcq; nncf_mcq.quantize")
    assert "which has no nncf.common.factory.build_graph (for nncf_mcq/model/nncf_versions.py); allowed: " in message
