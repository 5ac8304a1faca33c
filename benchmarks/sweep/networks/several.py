"""Networks with several inputs or outputs, shared weights, and other unusual structure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.sweep.networks.blocks import Residual, conv, separable
from benchmarks.sweep.networks.network import Network


def _tower() -> nn.Sequential:
    return nn.Sequential(
        conv(3, 16, 3, 2),
        conv(16, 32, 3, 2),
        conv(32, 64, 3, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 32),
    )


class _TwoImages(nn.Module):
    """Compares two images by the same tower."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = _tower(), nn.Linear(64, 8)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        left, right = self.tower(first), self.tower(second)
        result: torch.Tensor = self.head(torch.cat([(left - right).abs(), left * right], 1))
        return result


class _StackedImages(_TwoImages):
    """The same with both images in one input, of six channels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(images[:, :3], images[:, 3:])


class _ImageAndVector(nn.Module):
    """An image and measurements, which also weight the image's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 16, 3, 2), separable(16, 32, 2), separable(32, 64, 2))
        self.measurements = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU())
        self.gate = nn.Linear(64, 64)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 5))

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        known = self.measurements(vector)
        values = self.features(image) * self.gate(known).sigmoid()[:, :, None, None]
        result: torch.Tensor = self.head(torch.cat([values.mean((2, 3)), known], 1))
        return result


class _TwoTasks(nn.Module):
    """Classes and a map from the same features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), Residual(conv(32, 32)), conv(32, 64))
        self.classes = nn.Linear(64, 10)
        self.map = nn.Sequential(conv(64, 32), nn.Conv2d(32, 2, 1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = self.features(images)
        return self.classes(values.mean((2, 3))), self.map(values)


class _Embedding(nn.Module):
    """Normalized embeddings, and their similarity to prototypes, divided by a temperature."""

    def __init__(self, prototypes: int = 20) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            conv(3, 16, 3, 2, activation=nn.Hardswish),
            separable(16, 32, 2, nn.Hardswish),
            separable(32, 64, 2, nn.Hardswish),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 48),
        )
        self.prototypes = nn.Linear(48, prototypes, bias=False)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = F.normalize(self.tower(images), dim=1)
        return found, self.prototypes(found) / self.temperature


class _Shuffle(nn.Module):
    """Grouped pointwise convolutions whose channels are shuffled; two of the kernels are 1x5 and 5x1."""

    def __init__(self, channels: int = 48, groups: int = 4, blocks: int = 3) -> None:
        super().__init__()
        self.stem = conv(3, channels, 3, 2)
        self.squeeze = nn.ModuleList(conv(channels, channels, 1, groups=groups) for _ in range(blocks))
        self.expand = nn.ModuleList(
            nn.Sequential(
                conv(channels, channels, 3, groups=channels, activation=nn.Identity),
                conv(channels, channels, 1, groups=groups, activation=nn.Identity),
            )
            for _ in range(blocks)
        )
        self.shuffle = nn.ChannelShuffle(groups)
        self.lines = nn.Sequential(
            nn.Conv2d(channels, channels, (1, 5), padding=(0, 2)),
            nn.Conv2d(channels, channels, (5, 1), padding=(2, 0)),
            nn.LeakyReLU(0.1),
        )
        self.head = nn.Linear(channels, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.stem(images)
        for squeeze, expand in zip(self.squeeze, self.expand, strict=True):
            values = F.relu(values + expand(self.shuffle(squeeze(values))))
        result: torch.Tensor = self.head(self.lines(values).mean((2, 3)))
        return result


_IMAGE = ((1, 3, 64, 64),)

NETWORKS = (
    Network("siamese_two_inputs", _TwoImages, _IMAGE * 2, note="shared weights, two inputs"),
    Network("siamese_one_input", _StackedImages, ((1, 6, 64, 64),), note="shared weights, one input"),
    Network("image_and_vector", _ImageAndVector, (*_IMAGE, (1, 12)), note="two inputs"),
    Network("two_tasks", _TwoTasks, _IMAGE, note="two outputs"),
    Network("embedding", _Embedding, _IMAGE, note="two outputs, normalized"),
    Network("channel_shuffle", _Shuffle, _IMAGE),
)
