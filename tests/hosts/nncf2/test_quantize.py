"""`nncf_mcq.quantize` with NNCF 2.19: the same policy and the same file as with NNCF 3."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nncf_mcq import Policy
from tests.hosts import demo

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def nncf3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the environment of `make install` makes of the demo."""
    python = Path(os.environ.get("NNCF_MCQ_PYTHON", ROOT / ".venv" / "bin" / "python"))
    if not python.is_file():
        pytest.skip(f"needs the environment of make install, whose interpreter is {python}")
    folder = tmp_path_factory.mktemp("nncf3")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([python, ROOT / "tests" / "hosts" / "demo.py", folder], env=environment, check=True)
    return folder


def test_policy_and_weights_are_those_of_nncf_3(nncf3_folder: Path, tmp_path: Path) -> None:
    result = demo.quantize()
    xml = result.save(tmp_path)
    assert result.policy == Policy.from_file(nncf3_folder / "policy.json")
    assert xml.with_suffix(".bin").read_bytes() == (nncf3_folder / "model.bin").read_bytes()
    assert {layer.runtime_precision for layer in result.layers} <= {"i8", "u8"}
