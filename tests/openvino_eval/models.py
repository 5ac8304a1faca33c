"""Models that tests build."""

from __future__ import annotations

import numpy as np
import openvino as ov
import openvino.opset13 as ops

CLASSES = 10


def small_network(batch: int | None = 1) -> ov.Model:
    """Two convolutions, a mean over the image and a matrix product; (batch, 3, 12, 12) -> (batch, 10)."""
    generator = np.random.default_rng(0)
    image = ops.parameter(ov.PartialShape([-1 if batch is None else batch, 3, 12, 12]), ov.Type.f32, name="image")
    node, channels = image, 3
    for index, width in enumerate((8, 16)):
        weights = generator.standard_normal((width, channels, 3, 3)).astype(np.float32) * np.float32(0.3)
        convolution = ops.convolution(node, ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1], name=f"conv{index}")
        node, channels = ops.relu(convolution), width
    pooled = ops.reduce_mean(node, ops.constant(np.array([2, 3])), keep_dims=False)
    head = ops.constant(generator.standard_normal((channels, CLASSES)).astype(np.float32))
    return ov.Model([ops.result(ops.matmul(pooled, head, False, False))], [image], "small_network")
