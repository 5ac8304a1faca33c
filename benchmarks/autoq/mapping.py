"""Which layer of the OpenVINO model is which module of the torch model; all of them must be known to compare."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchmarks.autoq.environment import AutoqError
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.weight_matching import match_weights


def match_layers(modules: Mapping[str, torch.Tensor], quantizable: QuantizableModel) -> dict[str, str]:
    """Finds the module of each group of layers, as `match_weights`.

    Raises:
        AutoqError: A group has no counterpart.
    """
    found = match_weights(modules, quantizable)
    for group in quantizable.groups:
        if group not in found:
            raise AutoqError(f"{group}: no torch module has the weights of this layer, so AutoQ cannot be compared")
    return found
