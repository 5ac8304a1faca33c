"""ResNet18 for 28x28 grey images, a quarter as wide as the published one.

After He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: four stages of two basic blocks. As usual
for small images, the stem is a 3x3 convolution of full resolution, and there is no max pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEM_CHANNELS = 16
STAGES = 4
BLOCKS = 2
"""Of each stage; the first of all stages but the first halves the resolution and doubles the channels."""


class ConvolutionBlock(nn.Sequential):
    """Convolution without bias and batch normalization; keeps "same" padding."""

    def __init__(self, input_channels: int, output_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(input_channels, output_channels, kernel_size, stride, kernel_size // 2, bias=False),
            nn.BatchNorm2d(output_channels),
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; adds the input, through a 1x1 convolution where the shapes differ."""

    def __init__(self, input_channels: int, output_channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(ConvolutionBlock(input_channels, output_channels, 3, stride), nn.ReLU())
        self.second = ConvolutionBlock(output_channels, output_channels, 3)
        is_same = stride == 1 and input_channels == output_channels
        self.shortcut = nn.Identity() if is_same else ConvolutionBlock(input_channels, output_channels, 1, stride)
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Maps (N, input_channels, H, W) to (N, output_channels, H / stride, W / stride), sizes rounded up."""
        activated: Tensor = self.activation(self.second(self.first(features)) + self.shortcut(features))
        return activated


class FashionResNet18(nn.Module):
    """ResNet18 with resolutions 28, 14, 7 and 4.

    Args:
        channels: Of the stem and the first stage; the published network has 64.
        classes: Number of outputs.
    """

    def __init__(self, channels: int = STEM_CHANNELS, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvolutionBlock(1, channels, 3), nn.ReLU())
        blocks: list[nn.Module] = []
        before = channels
        for stage in range(STAGES):
            after = channels << stage
            for block in range(BLOCKS):
                blocks.append(BasicBlock(before, after, stride=2 if stage and not block else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalized images (N, 1, 28, 28) to logits (N, classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.pool(self.blocks(self.stem(images))), 1))
        return logits


def create_model() -> nn.Module:
    """Returns the untrained network: input (N, 1, 28, 28), output logits (N, 10)."""
    return FashionResNet18()
