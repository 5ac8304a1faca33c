"""Channels between layers multiplied by factors that the layers on both sides absorb: the same float model."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.model.channel_groups import ChannelGroup
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, layer_weight
from nncf_mcq.model.nodes import constant_value, operations_by_name, replace_constant

STEPS_OF_OCTAVE = 16
"""Factors are powers of two to a whole multiple of one part in so many, 5 % apart: they are kept in a byte."""

_RT_INFO = ["channel_scales"]


def round_factors(factors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Steps of the nearest factors in 0..1 that a model can keep, see `factors_of`."""
    steps: NDArray[np.float64] = np.rint(-STEPS_OF_OCTAVE * np.log2(factors))
    return steps.clip(0, 255).astype(np.uint8)


def factors_of(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Steps below one -> factors."""
    return np.exp2(-steps.astype(np.float64) / STEPS_OF_OCTAVE).astype(np.float32)


def scale_channels(
    quantizable: QuantizableModel, groups: Sequence[ChannelGroup], steps: Mapping[str, NDArray[np.uint8]]
) -> QuantizableModel:
    """A copy of a float model in which values between layers are multiplied by factors, and nothing else is changed.

    Args:
        quantizable: The float model and its layers; not edited.
        groups: Those of `find_channel_groups`.
        steps: Name of a group to the steps of its channels, see `round_factors`.

    Returns:
        The copy, with the same operations and layers; it remembers the steps, see `channel_steps`.
    """
    scaled = [group for group in groups if group.name in steps]
    if not scaled:
        return quantizable
    model = quantizable.model.clone()
    operations = operations_by_name(model)
    for group in scaled:
        factors = factors_of(steps[group.name])
        for name in group.producers:
            layer = quantizable.layer(name)
            scaled_rows = layer_weight(layer, operations[name]) * factors.reshape(layer.channel_shape())
            replace_constant(operations[name], layer.weight_port, scaled_rows)
        for name in group.readers:
            layer = quantizable.layer(name)
            divided = layer_weight(layer, operations[name]) / factors.reshape(_input_shape(layer))
            replace_constant(operations[name], layer.weight_port, divided)
        for name, port in group.terms:
            operation = operations[name]
            shape = (1, -1, *(1 for _ in operation.get_output_shape(0)[2:]))
            replace_constant(operation, port, constant_value(operation, port) * factors.reshape(shape))
    model.validate_nodes_and_infer_types()
    model.set_rt_info(
        json.dumps({name: base64.b64encode(values.tobytes()).decode() for name, values in steps.items()}), _RT_INFO
    )
    return dataclasses.replace(quantizable, model=model)


def channel_steps(model: ov.Model) -> dict[str, NDArray[np.uint8]]:
    """The steps that a model was made with.

    Args:
        model: Made by `scale_channels`, or quantized afterwards.
    """
    if not model.has_rt_info(_RT_INFO):
        return {}
    found = json.loads(model.get_rt_info(_RT_INFO).astype(str))
    return {name: np.frombuffer(base64.b64decode(values), dtype=np.uint8) for name, values in found.items()}


def _input_shape(layer: QuantizableLayer) -> tuple[int, ...]:
    """The shape in which one value per input channel broadcasts to the weights of a layer with one group."""
    (rows,) = layer.channel_axes
    return tuple(-1 if axis == 1 - rows else 1 for axis in range(len(layer.weight_shape)))
