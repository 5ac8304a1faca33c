"""The layers that NNCF would quantize: shapes, MACs, activation quantizers, and which of them share their bits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import nncf
import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from nncf_mcq.config.scopes import with_layers_of
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.model import algorithm
from nncf_mcq.model.algorithm import ActivationPoint
from nncf_mcq.model.nodes import constant_of, constant_value, operations_by_name
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.utils.disjoint_sets import merge_overlapping

ACTIVATION_PREFIX = "activation:"
"""Begins the names of groups of activation points."""

LayerKind = Literal["convolution", "grouped_convolution", "depthwise_convolution", "matmul"]


@dataclass(frozen=True)
class QuantizableLayer:
    """One operation with constant weights.

    The weights are seen as `groups` matrices of `rows` output channels by `columns` inputs of one output value:
    a convolution is one matrix of O rows and I*kh*kw columns, a depthwise convolution C matrices of one row and
    kh*kw columns, a MatMul one matrix of its output by its input features.

    Attributes:
        name: Friendly name of the operation.
        kind: What it computes.
        weight_port: Input port of the weights.
        weight_shape: Shape of the weights as the operation reads them.
        groups: Number of matrices.
        rows: Output channels of one matrix.
        columns: Inputs of one output value.
        transposed: A MatMul whose weights are stored as (inputs, outputs).
        macs: Multiply-accumulates of one input image.
        activation_quantizers: Names of the quantizers that its data input passes through.
        group: Name of the first layer that reads the same constant: layers of one group share their bits.
    """

    name: str
    kind: LayerKind
    weight_port: int
    weight_shape: tuple[int, ...]
    groups: int
    rows: int
    columns: int
    transposed: bool
    macs: int
    activation_quantizers: tuple[str, ...]
    group: str

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.weight_shape)

    @property
    def output_channels(self) -> int:
        """Number of output channels: one scale and one bias each."""
        return self.groups * self.rows

    @property
    def data_port(self) -> int:
        """Input port of the activations."""
        return 1 - self.weight_port

    def to_matrices(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Weights in the operation's shape -> (groups, rows, columns)."""
        if self.transposed:
            weight = weight.T
        return np.ascontiguousarray(weight.reshape(self.groups, self.rows, self.columns))

    def from_matrices(self, matrices: NDArray[Any]) -> NDArray[Any]:
        """(groups, rows, columns) -> weights in the operation's shape; the inverse of `to_matrices`."""
        if self.transposed:
            return np.ascontiguousarray(matrices.reshape(self.rows, self.columns).T)
        return np.ascontiguousarray(matrices.reshape(self.weight_shape))

    def channel_shape(self) -> tuple[int, ...]:
        """The shape in which one value per output channel broadcasts to the weights."""
        if self.kind == "matmul":
            return (1, self.rows) if self.transposed else (self.rows, 1)
        if self.kind == "convolution":
            return (self.rows, *(1 for _ in self.weight_shape[1:]))
        return (self.weight_shape[0], self.weight_shape[1], *(1 for _ in self.weight_shape[2:]))


@dataclass(frozen=True)
class QuantizableModel:
    """A float model with what NNCF would quantize in it.

    Attributes:
        model: The float model; not edited.
        layers: In topological order.
        activation_points: In topological order.
        unified_scales: Names of activation points that must share bits and range.
        ignored_scope: What stays in floating point.
        shared_grids: Names of further activation points that must share bits, since their values meet unchanged.
    """

    model: ov.Model
    layers: tuple[QuantizableLayer, ...]
    activation_points: tuple[ActivationPoint, ...]
    unified_scales: tuple[tuple[str, ...], ...]
    ignored_scope: nncf.IgnoredScope
    shared_grids: tuple[tuple[str, ...], ...] = ()

    @property
    def groups(self) -> dict[str, tuple[QuantizableLayer, ...]]:
        """Layers by the group in which they share their weights and so their bits."""
        groups: dict[str, list[QuantizableLayer]] = {}
        for layer in self.layers:
            groups.setdefault(layer.group, []).append(layer)
        return {name: tuple(members) for name, members in groups.items()}

    @cached_property
    def activation_groups(self) -> dict[str, tuple[str, ...]]:
        """Activation points by the group in which they share their bits; those that no layer reads are left out.

        Points of one unified scale or grid share their bits, and so do all that one layer reads: a layer computes with
        the largest of their widths, so that a smaller one beside it would gain nothing. A group is named after its
        first point, `activation:` before it, since a layer may have the same name as the point behind it.
        """
        read = [layer.activation_quantizers for layer in self.layers]
        groups = merge_overlapping([*read, *self.unified_scales, *self.shared_grids])
        order = [point.name for point in self.activation_points]
        members = [
            tuple(name for name in order if name in group) for group in groups if any(map(group.intersection, read))
        ]
        members.sort(key=lambda names: order.index(names[0]))
        return {f"{ACTIVATION_PREFIX}{names[0]}": names for names in members}

    def activation_group(self, layer: QuantizableLayer) -> str | None:
        """Name of the group that decides the width of a layer's input; None where the input is not quantized."""
        for name, members in self.activation_groups.items():
            if set(layer.activation_quantizers) & set(members):
                return name
        return None

    def choices(
        self, weight_bits: Sequence[int], activation_bits: Sequence[int], *, with_float: bool = False
    ) -> dict[str, tuple[int, ...]]:
        """Choices of a policy: group name to the bit-widths that it can have, in the order of the network.

        Args:
            weight_bits: Widths of each group of layers.
            activation_bits: Widths of each group of activation points. A single one is no choice, and makes no groups.
            with_float: Whether a group of layers may also be left in floating point: `FLOAT_CHOICE`, its largest width.

        Returns:
            Ascending widths of each group; the group of a layer's input stands before the layer.
        """
        widths, activation_widths = tuple(sorted(set(weight_bits))), tuple(sorted(set(activation_bits)))
        widths += (FLOAT_CHOICE,) if with_float else ()
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            inputs = self.activation_group(layer) if len(activation_widths) > 1 else None
            if inputs is not None:
                found.setdefault(inputs, activation_widths)
            found.setdefault(layer.group, widths)
        return found

    @property
    def quantizable_weights(self) -> int:
        """Number of weights that are stored quantized; a shared constant counts once."""
        return sum(members[0].weights for members in self.groups.values())

    def layer(self, name: str) -> QuantizableLayer:
        """The layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)


def find_layers(
    model: ov.Model, ignored_scopes: Sequence[str] = (), per_channel_activations: bool = False
) -> QuantizableModel:
    """Finds the layers of a float model from NNCF's own graph and quantizer placement.

    Args:
        model: The float model, with static shapes and batch size 1.
        ignored_scopes: Operations left in floating point: names, or `{re}PATTERN`.
        per_channel_activations: Keep NNCF's range per channel before depthwise convolutions.

    Raises:
        ConfigError: An ignored scope matches no operation.
        QuantizationError: A weight is not finite, or there is nothing to quantize.
    """
    operations = operations_by_name(model)
    scope = algorithm.ignored_scope(with_layers_of(ignored_scopes, operations))
    with algorithm.quiet_nncf():
        try:
            placement = algorithm.find_placement(model, scope)
        except nncf.ValidationError as error:
            raise ConfigError(
                "compression.ignored_scopes", list(ignored_scopes), f"names in the model ({error})"
            ) from error
        unsupported = [
            point.operation for point in placement.weights if not _is_supported(operations[point.operation], point.port)
        ]
        if unsupported:
            # NNCF quantizes more kinds of operations than have an int8 kernel with packed weights: they stay float.
            scope.names = sorted({*scope.names, *unsupported})
            placement = algorithm.find_placement(model, scope)
    layers: list[QuantizableLayer] = []
    group_of_constant: dict[tuple[object, ...], str] = {}
    for point in placement.weights:
        operation = operations[point.operation]
        constant = constant_of(operation, point.port).get_friendly_name()
        quantizers = tuple(item.name for item in placement.activations if point.operation in item.operations)
        layer = _describe(operation, point.port, quantizers)
        # A constant that is read in two layouts is quantized twice: its channels are not the same rows.
        layout = (constant, layer.groups, layer.rows, layer.columns, layer.transposed)
        layers.append(dataclasses.replace(layer, group=group_of_constant.setdefault(layout, layer.name)))
    if not layers:
        raise QuantizationError("the model has no Convolution or MatMul with constant weights that could be quantized")
    for layer in layers:
        if not np.isfinite(constant_value(operations[layer.name], layer.weight_port)).all():
            raise QuantizationError(f"{layer.name}: its weights hold values that are not finite")
    points = tuple(
        dataclasses.replace(point, per_channel=point.per_channel and per_channel_activations)
        for point in placement.activations
    )
    return QuantizableModel(model, tuple(layers), points, placement.unified_scales, scope)


def weight_matrices(layer: QuantizableLayer, operation: ov.Node) -> torch.Tensor:
    """(groups, rows, columns) the float weights of a layer, a copy.

    Args:
        layer: The layer.
        operation: The operation of that name in the float model.
    """
    weight = layer.to_matrices(constant_value(operation, layer.weight_port))
    return torch.from_numpy(np.array(weight, dtype=np.float32))


def _is_supported(operation: ov.Node, port: int) -> bool:
    kind = operation.get_type_name()
    if kind in ("Convolution", "GroupConvolution"):
        spatial = len(operation.get_input_shape(0)) - 2
        return port == 1 and spatial in (1, 2)
    return kind == "MatMul" and port == 1 and len(operation.get_input_shape(port)) == 2


def _describe(operation: ov.Node, port: int, quantizers: tuple[str, ...]) -> QuantizableLayer:
    shape = tuple(operation.get_input_shape(port))
    output = tuple(operation.get_output_shape(0))
    transposed = False
    kind: LayerKind
    if operation.get_type_name() == "Convolution":
        kind, groups, rows, columns = "convolution", 1, shape[0], math.prod(shape[1:])
        positions = math.prod(output[2:])
    elif operation.get_type_name() == "GroupConvolution":
        kind = "depthwise_convolution" if shape[2] == 1 else "grouped_convolution"
        groups, rows, columns = shape[0], shape[1], math.prod(shape[2:])
        positions = math.prod(output[2:])
    else:
        transposed = not operation.get_attributes()["transpose_b"]
        kind, groups = "matmul", 1
        rows, columns = (shape[1], shape[0]) if transposed else shape
        positions = math.prod(output[1:-1])
    return QuantizableLayer(
        name=operation.get_friendly_name(),
        kind=kind,
        weight_port=port,
        weight_shape=shape,
        groups=groups,
        rows=rows,
        columns=columns,
        transposed=transposed,
        macs=math.prod(shape) * positions,
        activation_quantizers=quantizers,
        group=operation.get_friendly_name(),
    )
