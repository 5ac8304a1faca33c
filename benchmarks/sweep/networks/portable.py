"""Models as other frameworks leave them: Keras's ONNX files, TFLite's channels-last graphs, and PyTorch's programs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as opset
from torch import nn

from benchmarks.sweep.networks.blocks import Residual, conv, separable
from benchmarks.sweep.networks.network import Network


class _ChannelsLast(nn.Module):
    """Keras's kind: images with their channels last, turned around before the first convolution and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 16, 3, 2, activation=nn.ReLU6), separable(16, 32, 2, nn.ReLU6), separable(32, 64, 2, nn.ReLU6)
        )
        self.map = nn.Conv2d(64, 6, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.map(self.features(images.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


def _program() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2, activation=nn.SiLU),
        Residual(separable(16, 16, activation=nn.SiLU), nn.Identity),
        separable(16, 32, 2, nn.SiLU),
        Residual(separable(32, 32, activation=nn.SiLU), nn.Identity),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def _tflite() -> ov.Model:
    """What OpenVINO's reader makes of a TFLite classifier: half precision, weights behind reshapes, transposes."""
    generator = np.random.default_rng(0)

    def stored(*shape: int, inputs: int) -> ov.Node:
        values = generator.normal(size=shape) * np.sqrt(2 / inputs)
        return opset.convert(opset.constant(values.astype(np.float16)), "f32")

    def order(*axes: int) -> ov.Node:
        return opset.constant(np.array(axes, np.int64))

    def activated(values: ov.Node, channels: int) -> ov.Node:
        bias = opset.constant((0.2 * generator.normal(size=(1, channels, 1, 1))).astype(np.float32))
        return opset.clamp(opset.add(values, bias), 0.0, 6.0)

    def dense(values: ov.Node, channels_in: int, channels_out: int, kernel: int, stride: int) -> ov.Node:
        weights = stored(channels_out, kernel, kernel, channels_in, inputs=channels_in * kernel**2)
        turned = opset.transpose(weights, order(0, 3, 1, 2))
        return activated(_same(opset.convolution, values, turned, stride), channels_out)

    def depthwise(values: ov.Node, channels: int, stride: int) -> ov.Node:
        weights = stored(1, 3, 3, channels, inputs=9)
        split = opset.reshape(weights, opset.constant(np.array([3, 3, channels, 1, 1], np.int64)), False)
        turned = opset.transpose(split, order(2, 3, 4, 0, 1))
        return activated(_same(opset.group_convolution, values, turned, stride), channels)

    images = opset.parameter([1, 64, 64, 3], ov.Type.f32, name="image")
    values = opset.transpose(images, order(0, 3, 1, 2))
    values = dense(values, 3, 16, 3, 2)
    for channels_in, channels_out, stride in ((16, 32, 2), (32, 32, 1), (32, 64, 2)):
        before = values
        values = dense(depthwise(values, channels_in, stride), channels_in, channels_out, 1, 1)
        if stride == 1:
            values = opset.add(values, before)
    pooled = opset.reduce_mean(opset.transpose(values, order(0, 2, 3, 1)), opset.constant(np.array([1, 2])), False)
    logits = opset.matmul(pooled, stored(10, 64, inputs=64), False, True)
    return ov.Model([opset.result(opset.softmax(logits, 1))], [images], "tflite")


def _same(operation: object, values: ov.Node, weights: ov.Node, stride: int) -> ov.Node:
    """A convolution with TensorFlow's padding."""
    zeros: Sequence[int] = (0, 0)
    node: ov.Node = operation(values, weights, [stride] * 2, zeros, zeros, [1, 1], auto_pad="same_upper")  # type: ignore[operator]
    return node


NETWORKS = (
    Network("keras_channels_last", _ChannelsLast, ((1, 64, 64, 3),), "onnx", note='input "x:0", channels last'),
    Network("exported_program", _program, ((1, 3, 64, 64),), "program"),
    Network("tflite_classifier", _tflite, ((1, 64, 64, 3),), "ir", note="half precision, weights behind reshapes"),
)
