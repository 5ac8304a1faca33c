"""The scripts of the page on Intel Neural Compressor run, with few images and quick searches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nncf_mcq import inc
from nncf_mcq.inc import MixedClippingConfig
from tests.docs.blocks import fenced
from tests.hosts.inc.conftest import FISHER

PAGE = Path(__file__).resolve().parents[3] / "docs" / "inc.md"


def test_the_scripts_run(
    model: torch.nn.Module,
    batches: tuple[Tensor, ...],
    evaluate: Callable[[torch.nn.Module], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The searches are made to take seconds.
    def quick(**parameters: Any) -> MixedClippingConfig:
        is_search = "average_bits" in parameters and "compression" not in parameters
        return MixedClippingConfig(**parameters, **(FISHER if is_search else {}))

    names: dict[str, Any] = {"model": model, "batches": batches, "evaluate": evaluate}
    monkeypatch.setattr(inc, "MixedClippingConfig", quick)
    blocks = fenced(PAGE, "python")
    policies = []
    for block in blocks:
        exec(compile(block.text, PAGE.name, "exec", dont_inherit=True), names)
        policies.append(names["quantized"].result.policy.weight_bits)
    assert Path("quantized/model.xml").is_file()
    assert Path("best/model.xml").is_file()
    assert set(policies[1].values()) == {4}
    linear = "__module.classifier/aten::linear/MatMul"
    assert policies[3] == {name: 8 if "stem" in name else 4 for name in policies[1] if name != linear}
    assert names["settings"].compression.initializer.precision.agent == "ddpg"


def test_the_first_script_has_ten_lines() -> None:
    code = [line for line in fenced(PAGE, "python")[0].text.splitlines() if line.strip()]
    assert len(code) <= 10
