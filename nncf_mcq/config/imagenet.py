"""What networks for ImageNet usually read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

IMAGENET_NORMALIZATION: Final[Mapping[str, Any]] = {
    "scale": "0-1",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""Keys of `preprocessing`: mean and deviation of the training images, as torchvision has them."""
