"""Gives random networks the statistics of trained ones: activations of unit variance, normalizations that differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.sweep.images import make_samples
from benchmarks.sweep.networks.network import Network

_BATCH, _BATCHES, _SEED = 16, 3, 1000
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_NORMALIZATIONS = (nn.modules.batchnorm._BatchNorm,)
_EMBEDDINGS = ("class_token", "pos_embedding")
_SMALLEST = 1e-6


def build_module(network: Network) -> nn.Module:
    """The module of a network in evaluation mode; the same for every call.

    Each convolution and linear layer is scaled so that its first output has unit variance (Mishkin and Matas, "All You
    Need is a Good Init", ICLR 2016). Normalizations get random factors and shifts, and the statistics of batches.
    """
    torch.manual_seed(0)
    module = network.build()
    assert isinstance(module, nn.Module)
    batches = [_batch(network, number) for number in range(_BATCHES)]
    with torch.no_grad():
        _randomize(module)
        module.train()
        for part in module.modules():
            if isinstance(part, nn.Dropout) or type(part).__name__ == "StochasticDepth":
                part.eval()
        _scale_layers(module, batches[0])
        for part in module.modules():
            if isinstance(part, _NORMALIZATIONS):
                part.reset_running_stats()
                # The mean over all batches.
                part.momentum = None
        for batch in batches:
            module(*batch)
    return module.eval()


def _batch(network: Network, number: int) -> list[torch.Tensor]:
    values: Sequence[NDArray[np.float32]] = make_samples(network, _BATCH, _SEED + number)
    return [torch.from_numpy(value) for value in values]


def _randomize(module: nn.Module) -> None:
    """Random factors of normalizations, and values in the place of those that training begins with at nearly 0."""
    for part in module.modules():
        if isinstance(part, (*_NORMALIZATIONS, nn.LayerNorm)) and part.weight is not None:
            part.weight.copy_(torch.exp(0.3 * torch.randn_like(part.weight)))
            part.bias.copy_(0.2 * torch.randn_like(part.bias))
        elif isinstance(part, nn.PReLU):
            part.weight.uniform_(-0.1, 0.4)
        elif isinstance(part, _LAYERS) and part.weight.abs().max() < _SMALLEST:
            part.weight.normal_()
    for name, values in module.named_parameters():
        kind = name.rpartition(".")[2]
        if kind == "layer_scale":
            values.copy_(0.2 * torch.exp(0.3 * torch.randn_like(values)))
        elif kind in _EMBEDDINGS:
            values.normal_(std=0.5)


def _scale_layers(module: nn.Module, batch: Sequence[torch.Tensor]) -> None:
    done: set[nn.Module] = set()

    def scale(layer: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor | None:
        # A layer that is used several times has the scale of its first use.
        if layer in done or getattr(layer, "is_fixed", False):
            return None
        done.add(layer)
        deviation = output.std()
        if not torch.isfinite(deviation) or deviation < _SMALLEST:
            return None
        for values in (layer.weight, layer.bias):
            if isinstance(values, torch.Tensor):
                values.div_(deviation)
        return output / deviation

    handles = [part.register_forward_hook(scale) for part in module.modules() if isinstance(part, _LAYERS)]
    module(*batch)
    for handle in handles:
        handle.remove()
