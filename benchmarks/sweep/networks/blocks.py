"""Blocks that several networks are made of."""

from __future__ import annotations

import torch
from torch import nn


def conv(
    channels_in: int,
    channels_out: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch normalization and activation; the size stays but for the stride."""
    return nn.Sequential(
        nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            stride,
            dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(channels_out),
        activation(),
    )


def conv_1d(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """The same for signals."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv1d(channels_in, channels_out, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
    )


def separable(
    channels_in: int, channels_out: int, stride: int = 1, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Depthwise convolution, then a pointwise one."""
    return nn.Sequential(
        conv(channels_in, channels_in, 3, stride, groups=channels_in, activation=activation),
        conv(channels_in, channels_out, 1, activation=activation),
    )


class Residual(nn.Module):
    """Adds its input to what a branch makes of it.

    Args:
        branch: Keeps the shape.
        activation: Of the sum.
    """

    def __init__(self, branch: nn.Module, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.branch, self.activation = branch, activation()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(values + self.branch(values))
        return result
