"""A compact MobileNetV2-style classifier for 28x28 grey images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stage(NamedTuple):
    """One row of the architecture: `repeats` inverted residuals, of which only the first has the `stride`."""

    expansion: int
    channels: int
    repeats: int
    stride: int


STEM_CHANNELS = 16
STAGES = (
    Stage(expansion=4, channels=16, repeats=2, stride=1),
    Stage(expansion=5, channels=32, repeats=3, stride=2),
    Stage(expansion=6, channels=64, repeats=3, stride=2),
)
HEAD_CHANNELS = 256


class ConvolutionBlock(nn.Sequential):
    """Convolution without bias, batch normalization and, unless `activation` is false, ReLU6; keeps "same" padding."""

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(
                input_channels, output_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(output_channels),
        ]
        if activation:
            layers.append(nn.ReLU6())
        super().__init__(*layers)


class InvertedResidual(nn.Module):
    """Pointwise expansion, 3x3 depthwise convolution, linear pointwise projection; adds the input when shapes allow.

    After Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """

    def __init__(self, input_channels: int, output_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden_channels = input_channels * expansion
        self.is_residual = stride == 1 and input_channels == output_channels
        self.expand = ConvolutionBlock(input_channels, hidden_channels, kernel_size=1)
        self.depthwise = ConvolutionBlock(
            hidden_channels, hidden_channels, kernel_size=3, stride=stride, groups=hidden_channels
        )
        self.project = ConvolutionBlock(hidden_channels, output_channels, kernel_size=1, activation=False)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (N, input_channels, H, W) to (N, output_channels, H / stride, W / stride), sizes rounded up."""
        projected: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + projected if self.is_residual else projected


class FashionMobileNet(nn.Module):
    """MobileNetV2 scaled down to 28x28 grey images.

    The stem and the second and third stage halve the resolution: 28 -> 14 -> 7 -> 4.

    Args:
        classes: Number of outputs.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, classes: int = 10, dropout: float = 0.1) -> None:
        super().__init__()
        self.stem = ConvolutionBlock(1, STEM_CHANNELS, kernel_size=3, stride=2)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, stride, stage.expansion))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvolutionBlock(channels, HEAD_CHANNELS, kernel_size=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HEAD_CHANNELS, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalized images (N, 1, 28, 28) to logits (N, classes)."""
        features = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(self.dropout(torch.flatten(self.pool(features), 1)))
        return logits


def create_model() -> nn.Module:
    """Returns the untrained network: input (N, 1, 28, 28), output logits (N, 10)."""
    return FashionMobileNet()
