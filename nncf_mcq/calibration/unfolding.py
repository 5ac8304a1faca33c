"""The input of a layer as columns: the inputs of each output value."""

from __future__ import annotations

from collections.abc import Callable

import openvino as ov
import torch

from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.nodes import spatial_pads

POSITIONS_PER_IMAGE = 256
"""Positions of an output map that are sampled from one image, or as many as the layer has columns if those are more.

Neighbouring positions of an image say nearly the same; a 112 x 112 map has 49 times as many.
"""

POSITIONS_PER_COLUMN = 4
SMALLEST_POSITIONS_PER_IMAGE = 64
"""Layers with few columns, as depthwise convolutions, need fewer positions for the same accuracy."""


def sampled_positions(columns: int) -> int:
    """Positions that are sampled of one image for a layer with that many inputs per output value."""
    enough = max(POSITIONS_PER_COLUMN * columns, SMALLEST_POSITIONS_PER_IMAGE)
    return min(enough, max(POSITIONS_PER_IMAGE, columns))


def unfolder(operation: ov.Node, layer: QuantizableLayer) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from the layer's input tensor to (groups, columns, positions)."""
    if layer.kind == "matmul":
        transpose = bool(operation.get_attributes()["transpose_a"])

        def flatten(values: torch.Tensor) -> torch.Tensor:
            if transpose:
                values = values.transpose(-1, -2)
            return values.reshape(-1, layer.columns).T.unsqueeze(0).contiguous()

        return flatten

    attributes = operation.get_attributes()
    spatial = len(layer.weight_shape) - (2 if layer.kind == "convolution" else 3)
    kernel = list(layer.weight_shape[-spatial:])
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    # Not the attributes: `auto_pad` leaves them at zero until the shapes are known.
    begin, end = spatial_pads(operation, kernel, strides, dilations)
    if spatial == 1:
        kernel, strides, dilations, begin, end = [1, *kernel], [1, *strides], [1, *dilations], [0, *begin], [0, *end]

    generator = torch.Generator().manual_seed(0)
    wanted = sampled_positions(layer.columns)

    def unfold(values: torch.Tensor) -> torch.Tensor:
        if spatial == 1:
            values = values.unsqueeze(2)
        padded = torch.nn.functional.pad(values, (begin[1], end[1], begin[0], end[0]))
        for dimension in (0, 1):
            extent = (kernel[dimension] - 1) * dilations[dimension] + 1
            padded = padded.unfold(2 + dimension, extent, strides[dimension])
        # A view (images, channels, output rows, output columns, kernel rows, kernel columns): samples are copied.
        patches = padded[..., :: dilations[0], :: dilations[1]]
        images, channels, height, width = patches.shape[:4]
        if height * width > wanted:
            position = torch.randperm(height * width, generator=generator)[:wanted]
            patches = patches[:, :, position // width, position % width]
        else:
            patches = patches.flatten(2, 3)
        # (images, groups * channels, positions, kernel...) -> (groups, columns, images * positions)
        patches = patches.reshape(images, layer.groups, channels // layer.groups, -1, kernel[0] * kernel[1])
        return patches.permute(1, 2, 4, 0, 3).reshape(layer.groups, layer.columns, -1)

    return unfold
