"""Smooth random inputs: neighbouring values are alike, as in images and sound, and no value is beyond a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.sweep.networks.network import Network, Shape

_SCALES = ((32, 1.0), (8, 0.6), (3, 0.3))
"""How many values apart the points between which is interpolated, and how much that counts."""

_NOISE = 0.05

_LARGEST = 2.0
"""Where values are cut off, as those of pixels are.

All images have about the same range then, as photographs have. NNCF INT8 takes the mean over the images of their
largest values for the range: where these differ by a factor, it clips every other image, and the comparison flatters.
"""

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def make_samples(network: Network, count: int, seed: int) -> list[NDArray[np.float32]]:
    """(count, ...) for each input of a network, without the batch of 1."""
    return [
        smooth(count, shape[1:], seed + 1000 * number, channels_last=_is_channels_last(shape))
        for number, shape in enumerate(network.shapes)
    ]


def smooth(count: int, shape: Sequence[int], seed: int, *, channels_last: bool = False) -> NDArray[np.float32]:
    """(count, *shape) values of mean 0 and a standard deviation of about 1.

    Args:
        count: Number of samples.
        shape: Of a sample: channels and up to three more dimensions, over which values are smooth; four are frames.
        seed: Of the values.
        channels_last: Whether the channels are the last dimension.
    """
    if channels_last:
        *sizes, channels = shape
        return np.ascontiguousarray(np.moveaxis(smooth(count, (channels, *sizes), seed), 1, -1))
    generator = torch.Generator().manual_seed(seed)
    channels, sizes = shape[0], list(shape[1:])
    if not sizes or max(sizes) == 1:
        return torch.randn(count, *shape, generator=generator).numpy()
    total = _NOISE * torch.randn(count, channels, *sizes, generator=generator)
    for distance, amount in _SCALES:
        coarse = torch.randn(count, channels, *(max(2, -(-size // distance)) for size in sizes), generator=generator)
        total += amount * F.interpolate(coarse, size=sizes, mode=_MODES[len(sizes)], align_corners=True)
    axes = tuple(range(1, total.ndim))
    total = (total - total.mean(axes, keepdim=True)) / total.std(axes, keepdim=True)
    flat = [1] * len(shape)
    contrast = 0.9 + 0.3 * torch.rand(count, *flat, generator=generator)
    brightness = 0.2 * torch.randn(count, channels, *flat[1:], generator=generator)
    return (total * contrast + brightness).clamp(-_LARGEST, _LARGEST).numpy().astype(np.float32)


def _is_channels_last(shape: Shape) -> bool:
    return len(shape) == 4 and shape[-1] < shape[1]
