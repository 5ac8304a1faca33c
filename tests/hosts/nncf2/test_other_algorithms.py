"""Quantization beside another algorithm of NNCF 2: what that has taken away is not in the packed IR either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nncf_mcq.nncf2.network import masked_parameters
from tests.hosts.nncf2.networks import compress, train
from tests.hosts.nncf2.test_compression import UNIFORM, check_way_back

ALGORITHMS: dict[str, dict[str, Any]] = {
    "magnitude_sparsity": {"sparsity_init": 0.5},
    "filter_pruning": {"pruning_init": 0.4, "params": {"schedule": "baseline"}},
}

SHARES = {"magnitude_sparsity": 0.4, "filter_pruning": 0.01}
"""Of zeros among the weights, at least: of these layers NNCF prunes only small ones."""


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    """All weights of convolutions."""
    return torch.cat([value.detach().flatten() for value in model.parameters() if value.ndim == 4])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_masks_are_in_the_ir(name: str, tmp_path: Path) -> None:
    controller, model = compress([UNIFORM, {"algorithm": name, **ALGORITHMS[name]}])
    train(model)
    before = weights_of(model).clone()
    with masked_parameters(model):
        assert float((weights_of(model) == 0).float().mean()) > SHARES[name]
    check_way_back(controller, model, tmp_path)
    assert torch.equal(weights_of(model), before)
