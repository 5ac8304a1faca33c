"""The input of a layer as columns: the inputs of each output value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as opset

from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.model.nodes import spatial_pads, transposed_pads_begin

Unfold = Callable[[torch.Tensor], torch.Tensor]

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


def layer_input(operation: ov.Node, layer: QuantizableLayer) -> ov.Output | None:
    """The tensor that `unfolder` takes: the data input of the layer; None for an embedding, which looks up its entries.

    A recurrent layer multiplies the inputs of each step and the hidden states before it, which are the outputs of the
    step before, or the initial state: (N, directions, steps, inputs + states). The candidate states of a GRU see its
    hidden states through the reset gate, which is left out.

    Args:
        operation: The layer's operation; where it is recurrent, nodes are added behind it.
        layer: The layer.
    """
    if layer.kind == "embedding":
        return None
    if not layer.is_recurrent:
        return operation.input_value(layer.data_port)
    states, first = operation.output(0), opset.unsqueeze(operation.input_value(1), 2)
    steps = states.get_shape()[2]
    inputs = []
    for number, is_reversed in enumerate(_directions(operation)):
        begin, end = (1, steps) if is_reversed else (0, steps - 1)
        of_direction, initial = (opset.slice(value, [number], [number + 1], [1], [1]) for value in (states, first))
        before = opset.slice(of_direction, [begin], [end], [1], [2])
        before = opset.concat([before, initial] if is_reversed else [initial, before], 2)
        inputs.append(opset.concat([opset.unsqueeze(operation.input_value(0), 1), before], 3))
    return opset.concat(inputs, 1).output(0)


def unfolder(operation: ov.Node, layer: QuantizableLayer) -> Unfold:
    """A function from the layer's input tensor, see `layer_input`, to (groups, columns, positions)."""
    if layer.kind == "matmul":
        return _rows_of_matrices(bool(operation.get_attributes()["transpose_a"]), layer)
    if layer.is_recurrent:
        return lambda values: values.permute(1, 3, 0, 2).reshape(layer.groups, layer.columns, -1)
    return _patches(operation, layer)


def output_sampler(operation: ov.Node, layer: QuantizableLayer) -> Unfold:
    """A function from a tensor of the shape of the layer's output to (groups, rows, positions), those of `unfolder`.

    Args:
        operation: The layer's operation.
        layer: A convolution, or a MatMul of one group.
    """
    if not layer.is_convolution:
        return lambda values: values.reshape(-1, layer.rows).T.unsqueeze(0).contiguous()
    sample = _position_sampler(operation, layer)

    def of_outputs(values: torch.Tensor) -> torch.Tensor:
        sampled = sample(values)
        split = sampled.reshape(len(sampled), layer.groups, layer.rows, -1)
        return split.permute(1, 2, 0, 3).reshape(layer.groups, layer.rows, -1)

    return of_outputs


def _directions(operation: ov.Node) -> tuple[bool, ...]:
    """Whether each direction of a recurrent operation runs from the last step to the first."""
    direction = str(operation.get_attributes()["direction"]).lower()
    return {"forward": (False,), "reverse": (True,)}.get(direction, (False, True))


def _rows_of_matrices(transpose: bool, layer: QuantizableLayer) -> Unfold:
    batch = layer.weight_shape[:-2]

    def unfold(values: torch.Tensor) -> torch.Tensor:
        if transpose:
            values = values.transpose(-1, -2)
        if layer.groups == 1:
            return values.reshape(-1, layer.columns).T.unsqueeze(0).contiguous()
        leading = np.broadcast_shapes(values.shape[:-2], batch)
        values = values.expand(*leading, *values.shape[-2:])
        offset = len(leading) - len(batch)
        grouped = [offset + axis for axis, size in enumerate(batch) if size > 1]
        others = [axis for axis in range(values.ndim - 1) if axis not in grouped]
        return values.permute(*grouped, values.ndim - 1, *others).reshape(layer.groups, layer.columns, -1)

    return unfold


def _patches(operation: ov.Node, layer: QuantizableLayer) -> Unfold:
    """Of a convolution: what its kernel covers at each position of the output.

    A transposed convolution is one whose kernel is turned round, over its input with strides - 1 zeros between the
    values.
    """
    attributes = operation.get_attributes()
    spatial = len(operation.get_input_shape(0)) - 2
    kernel = list(layer.weight_shape[-spatial:])
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    gaps = [1] * spatial
    if layer.transposed:
        gaps, begin, end = _stuffed_pads(operation, kernel, strides, dilations)
        strides = [1] * spatial
    else:
        # Not the attributes: `auto_pad` leaves them at zero until the shapes are known.
        begin, end = spatial_pads(operation, kernel, strides, dilations)
    outer = [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]
    sample = _position_sampler(operation, layer)

    def unfold(values: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.pad(_stuffed(values, gaps), outer)
        for dimension in range(spatial):
            extent = (kernel[dimension] - 1) * dilations[dimension] + 1
            patches = patches.unfold(2 + dimension, extent, strides[dimension])
        # A view (images, channels, output positions..., kernel...): samples are copied.
        patches = sample(patches[_every(dilations)])
        images, channels = patches.shape[:2]
        if layer.transposed:
            patches = patches.flip(list(range(3, 3 + spatial)))
        # (images, groups * channels, positions, kernel...) -> (groups, columns, images * positions)
        patches = patches.reshape(images, layer.groups, channels // layer.groups, -1, math.prod(kernel))
        return patches.permute(1, 2, 4, 0, 3).reshape(layer.groups, layer.columns, -1)

    return unfold


def _position_sampler(operation: ov.Node, layer: QuantizableLayer) -> Unfold:
    """A function that chooses positions of (images, channels, positions..., ...) and joins their dimensions.

    The positions are others in each call, and the same in all samplers of a layer that are called equally often.
    """
    spatial = len(operation.get_input_shape(0)) - 2
    # All but one of so many inputs of an output value are zeros that were put between.
    gaps = math.prod(operation.get_attributes()["strides"]) if layer.transposed else 1
    wanted = sampled_positions(layer.columns) * gaps
    generator = torch.Generator().manual_seed(0)

    def sample(values: torch.Tensor) -> torch.Tensor:
        positions = values.shape[2 : 2 + spatial]
        if math.prod(positions) <= wanted:
            return values.flatten(2, 1 + spatial)
        chosen = torch.randperm(math.prod(positions), generator=generator)[:wanted]
        places = torch.unravel_index(chosen, positions)
        return values.movedim((0, 1), (-2, -1))[places].movedim((-2, -1), (0, 1))

    return sample


def _stuffed_pads(
    operation: ov.Node, kernel: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """Of a transposed convolution: distance of the values in the stuffed input, and its padding, maybe negative."""
    begin, end = [], []
    cut = transposed_pads_begin(operation, kernel, strides, dilations)
    sizes, results = operation.get_input_shape(0)[2:], operation.get_output_shape(0)[2:]
    for size, result, width, stride, dilation, less in zip(
        sizes, results, kernel, strides, dilations, cut, strict=True
    ):
        reach = (width - 1) * dilation
        begin.append(reach - less)
        end.append(result + less - ((size - 1) * stride + 1))
    return strides, begin, end


def _stuffed(values: torch.Tensor, gaps: Sequence[int]) -> torch.Tensor:
    """The values with zeros between them."""
    if all(gap == 1 for gap in gaps):
        return values
    sizes = [(size - 1) * gap + 1 for size, gap in zip(values.shape[2:], gaps, strict=True)]
    stuffed = values.new_zeros(*values.shape[:2], *sizes)
    stuffed[_every(gaps)] = values
    return stuffed


def _every(steps: Sequence[int]) -> tuple[EllipsisType | slice[None, None, int], ...]:
    """The index of every n-th value in the last dimensions."""
    return (..., *(slice(None, None, step) for step in steps))
