"""Weights of networks that were trained with darknet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nncf_mcq.errors import ConfigError

if TYPE_CHECKING:
    import torch

SUFFIX = ".weights"
"""Suffix of a darknet weight file."""

_VERSION_BYTES = 12
"""Major, minor and revision, int32 each."""

_LONG_COUNTER_VERSION = (0, 2)
"""From this version on the number of images seen, which follows the version, has 8 bytes instead of 4."""

_FLOAT_BYTES = 4


def load_darknet_weights(module: torch.nn.Module, path: Path) -> None:
    """Fills a network with the weights of a darknet file.

    The file has no names or shapes: a header, and then for each convolution in the order of the `.cfg` its bias,
    or the bias, scale, mean and variance of its batch normalization, and its weights (outputs, inputs, height, width).

    Args:
        module: A network of convolutions, each either with a bias or followed by its batch normalization, defined in
            the order of the `.cfg`.
        path: The file.

    Raises:
        ConfigError: The file cannot be read, or holds another number of parameters than the network.
    """
    import torch

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError("checkpoint", str(path), f"a readable darknet weight file ({error.strerror})") from error
    if len(content) < _VERSION_BYTES:
        raise ConfigError("checkpoint", str(path), f"a darknet weight file; it has {len(content)} bytes")
    version = struct.unpack_from("<2i", content)
    start = _VERSION_BYTES + (8 if version >= _LONG_COUNTER_VERSION else 4)
    tensors = list(_tensors_in_file_order(module))
    expected, found = sum(tensor.numel() for tensor in tensors), (len(content) - start) / _FLOAT_BYTES
    if found != expected:
        raise ConfigError("checkpoint", str(path), f"{expected:,} parameters as the network has, not {found:,.10g}")
    values = np.frombuffer(content, dtype="<f4", offset=start).astype(np.float32)
    position = 0
    with torch.no_grad():
        for tensor in tensors:
            part = values[position : position + tensor.numel()]
            tensor.copy_(torch.from_numpy(part).reshape(tensor.shape))
            position += tensor.numel()


def _tensors_in_file_order(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    from torch import nn

    layers = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer.bias is not None:
            yield layer.bias
        elif isinstance(following, nn.BatchNorm2d):
            assert following.running_mean is not None
            assert following.running_var is not None
            yield from (following.bias, following.weight, following.running_mean, following.running_var)
        yield layer.weight
