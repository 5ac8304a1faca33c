"""Which torch module a layer of the converted model was made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from nncf_mcq.model.layers import QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.weight_matching import similarity

LAYER_MODULES: Final = (
    *(torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d),
    *(torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d),
    *(torch.nn.Linear, torch.nn.Embedding),
)
"""Modules with one tensor of weights that become layers."""

_TRACED: Final = "__module."
"""Begins the names of operations that OpenVINO's tracer made."""

_SAME: Final = 1 - 1e-4
"""Smallest absolute cosine of two channels of which one is a multiple of the other, in float32."""

_TRANSPOSED: Final = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)


def modules_of_layers(model: torch.nn.Module, names: Iterable[str], quantizable: QuantizableModel) -> dict[str, str]:
    """The module that each layer was made from.

    A layer is named after a module only where nothing was folded into it. Folded batch normalizations multiply whole
    output channels: a layer is that of the module whose channels are multiples of its own.

    Args:
        model: The torch module.
        names: Of the modules that may be layers.
        quantizable: The model that it was converted to.

    Returns:
        Layer to module; a layer that belongs to no module, or whose weights are all zero, is missing.
    """
    modules = dict(model.named_modules())
    known = {name: _matrices(modules[name]) for name in names}
    operations = operations_by_name(quantizable.model)
    found = {}
    for layer in quantizable.layers:
        traced = layer.name.removeprefix(_TRACED).split("/")[0]
        if layer.is_recurrent:
            continue
        weight = torch.from_numpy(weight_matrices(layer, operations[layer.name]))
        # A layer that still has its module's name comes first: two modules may share their weights.
        candidates = sorted(known, key=lambda name: name != traced)
        module = next((name for name in candidates if _are_multiples(weight, known[name])), None)
        if module is not None:
            found[layer.name] = module
    return found


def _matrices(module: torch.nn.Module) -> Tensor:
    """The weights of a module as (groups, rows, columns), as those of a layer."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    values, groups = weight.detach().float().cpu(), getattr(module, "groups", 1)
    assert isinstance(groups, int)
    if isinstance(module, _TRANSPOSED):
        inputs, rows, *kernel = values.shape
        values = values.reshape(groups, inputs // groups, rows, *kernel).transpose(1, 2)
        return values.reshape(groups, rows, -1)
    return values.reshape(groups, values.shape[0] // groups, -1)


def _are_multiples(first: Tensor, second: Tensor) -> bool:
    """Whether each channel is a multiple of the other's; zeros are a multiple of everything, but not all of them."""
    if first.shape != second.shape:
        return False
    channels = [weights.flatten(0, 1).numpy() for weights in (first, second)]
    # Most pairs that are not the same differ in the first channels already.
    return all(similarity(channels[0][part], channels[1][part]) > _SAME for part in (slice(8), slice(None)))
