"""Further images made of those that there are: the float model says what is right for each, so no label is lost."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

Augmentation = Literal["mirror", "crop", "mix"]

SMALLEST_CROP: Final = 0.4
"""Least share of an image's area that is left by a crop."""

_LARGEST_CHANNELS: Final = 4


def are_images(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape, (N, C, H, W), is one of images of one to four channels."""
    return len(shape) == 4 and shape[1] <= _LARGEST_CHANNELS


def augment(images: Tensor, chosen: Collection[Augmentation], generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) of the same shape, made of the given ones.

    mirror: each one from left to right with probability 1/2. crop: a part of 40 to 100 % of the area, enlarged to the
    whole. mix: every second one with another image of the batch, by a share between 0 and 1.

    Args:
        images: Normalized, as the model takes them.
        chosen: Which of the three.
        generator: Draws them.

    Sources: Zhang et al., "mixup", ICLR 2018; Beyer et al., "Knowledge distillation: A good teacher is patient and
    consistent", CVPR 2022, for the same view of teacher and student and mixed images.
    """
    for name, function in _FUNCTIONS.items():
        if name in chosen:
            images = function(images, generator)
    return images


def _mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(_uniform(images, generator) < 0.5, images.flip(-1), images)


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    height, width = images.shape[-2:]
    sides = (SMALLEST_CROP + (1 - SMALLEST_CROP) * torch.rand(len(images), generator=generator)).sqrt()
    places = torch.rand(len(images), 2, generator=generator)
    parts = []
    for image, side, place in zip(images, sides.tolist(), places.tolist(), strict=True):
        rows, columns = max(int(height * side), 1), max(int(width * side), 1)
        top, left = int(place[0] * (height - rows + 1)), int(place[1] * (width - columns + 1))
        part = image[None, :, top : top + rows, left : left + columns]
        parts.append(functional.interpolate(part, (height, width), mode="bilinear", antialias=True))
    return torch.cat(parts)


def _mix(images: Tensor, generator: torch.Generator) -> Tensor:
    share = torch.where(_uniform(images, generator) < 0.5, 1.0, _uniform(images, generator))
    return share * images + (1 - share) * images[torch.randperm(len(images), generator=generator)]


def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    """A number of each image."""
    return torch.rand(len(images), 1, 1, 1, generator=generator)


_FUNCTIONS: Final[dict[Augmentation, Callable[[Tensor, torch.Generator], Tensor]]] = {
    "mirror": _mirror,
    "crop": _crop,
    "mix": _mix,
}
