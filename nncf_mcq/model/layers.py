"""The layers that NNCF would quantize: shapes, MACs, activation quantizers, and which of them share their bits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.config.scopes import with_layers_of
from nncf_mcq.errors import ConfigError, QuantizationError, reason_of
from nncf_mcq.model import algorithm
from nncf_mcq.model.algorithm import ActivationPoint, QuantizerPlacement
from nncf_mcq.model.layer_forms import GATES, RECURRENT_PORTS, STATE_PORTS, LayerForm, LayerKind, layer_form
from nncf_mcq.model.nodes import constant_of, constant_value, operations_by_name
from nncf_mcq.model.recurrent_kernels import recurrent_float_causes
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.utils.disjoint_sets import merge_overlapping

ACTIVATION_PREFIX = "activation:"
"""Begins the names of groups of activation points."""


@dataclass(frozen=True)
class QuantizableLayer:
    """Constant weights of one operation.

    The weights are seen as `groups` matrices of `rows` output channels by `columns` inputs of one output value:
    a convolution is one matrix of O rows and I*kh*kw columns, a depthwise convolution C matrices of one row and
    kh*kw columns, a MatMul one matrix of its output by its input features, or one for each matrix of a batch. A
    recurrent operation is one matrix for each direction, of its gates by its inputs and hidden states: its two weights
    side by side, since its int8 kernel has one scale for both. An embedding is one matrix of entries by their values.

    Attributes:
        name: Friendly name of the operation.
        kind: What it computes.
        weight_port: Input port of the weights, of a recurrent operation that of the first ones.
        weight_shape: Shape of the weights as the operation reads them, of a recurrent operation both side by side.
        groups: Number of matrices.
        rows: Output channels of one matrix.
        columns: Inputs of one output value.
        transposed: Whether the weights are stored with inputs before outputs, as those of transposed convolutions.
        macs: Multiply-accumulates of one input image.
        activation_quantizers: Names of the quantizers that its data input passes through.
        group: Name of the first layer that reads the same constant: layers of one group share their bits.
        float_cause: Why OpenVINO computes it in floating point, so that only its weights are quantized; None for int8.
        allowed_bits: The only bit-widths that its weights can have; None: all.
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
    float_cause: str | None = None
    allowed_bits: tuple[int, ...] | None = None

    @property
    def integer_kernel(self) -> bool:
        """Whether OpenVINO computes it in int8; otherwise only its weights are quantized."""
        return self.float_cause is None

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
        return 0 if self.kind in RECURRENT_PORTS else 1 - self.weight_port

    @property
    def is_convolution(self) -> bool:
        """Whether it has a kernel that is moved over its input."""
        return self.kind.endswith("convolution")

    @property
    def is_recurrent(self) -> bool:
        """Whether its output at one step is an input of the next one."""
        return self.kind in RECURRENT_PORTS

    @property
    def weight_ports(self) -> tuple[int, ...]:
        """Input ports of all weights."""
        return RECURRENT_PORTS.get(self.kind, (self.weight_port,))

    @property
    def channel_axes(self) -> tuple[int, ...]:
        """Axes of the weights that tell groups apart, then that of the rows."""
        group_axes = len(self.weight_shape) - 2 if self.kind == "matmul" else 1
        if self.kind in ("convolution", "transposed_convolution", "embedding"):
            group_axes = 0
        return (*range(group_axes), group_axes + self.transposed)

    def to_matrices(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Weights in the operation's shape -> (groups, rows, columns)."""
        return np.ascontiguousarray(weight.transpose(self._order).reshape(self.groups, self.rows, self.columns))

    def from_matrices(self, matrices: NDArray[Any]) -> NDArray[Any]:
        """(groups, rows, columns) -> weights in the operation's shape; the inverse of `to_matrices`."""
        ordered = matrices.reshape([self.weight_shape[axis] for axis in self._order])
        return np.ascontiguousarray(ordered.transpose(np.argsort(self._order)))

    def split(self, weight: NDArray[Any]) -> list[NDArray[Any]]:
        """Weights in the operation's shape -> those of each of its ports."""
        if not self.is_recurrent:
            return [weight]
        return [np.ascontiguousarray(part) for part in np.split(weight, [self._inputs], axis=-1)]

    @property
    def part_weights(self) -> tuple[int, ...]:
        """Number of weights of each of its ports."""
        if not self.is_recurrent:
            return (self.weights,)
        return tuple(self.output_channels * columns for columns in (self._inputs, self.columns - self._inputs))

    def channel_shape(self) -> tuple[int, ...]:
        """The shape in which one value per output channel broadcasts to the weights."""
        return tuple(size if axis in self.channel_axes else 1 for axis, size in enumerate(self.weight_shape))

    def bias_shape(self, rank: int) -> tuple[int, ...]:
        """The shape in which one value per output channel broadcasts to an output of that many dimensions.

        Args:
            rank: At least that of the weights of a MatMul.
        """
        if self.kind != "matmul":
            return (1, self.output_channels, *(1 for _ in range(rank - 2)))
        batch = self.weight_shape[:-2] if self.groups > 1 else ()
        values = (*batch, 1, self.rows)[-rank:]
        return (*(1 for _ in range(rank - len(values))), *values)

    @property
    def _inputs(self) -> int:
        """Columns of a recurrent layer that are inputs; the others are hidden states."""
        return self.columns - self.rows // GATES[self.kind]

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes of the weights in the order of the matrices."""
        return (*self.channel_axes, *(axis for axis in range(len(self.weight_shape)) if axis not in self.channel_axes))


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
        unsupported: Names of operations that NNCF would quantize and that stay in floating point all the same, to why.
    """

    model: ov.Model
    layers: tuple[QuantizableLayer, ...]
    activation_points: tuple[ActivationPoint, ...]
    unified_scales: tuple[tuple[str, ...], ...]
    ignored_scope: nncf.IgnoredScope
    shared_grids: tuple[tuple[str, ...], ...] = ()
    unsupported: Mapping[str, str] = field(default_factory=dict)

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
            Ascending widths of each group, those that its layers can have; the group of a layer's input stands before
            the layer.
        """
        activation_widths = tuple(sorted(set(activation_bits)))
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            inputs = self.activation_group(layer) if len(activation_widths) > 1 else None
            if inputs is not None:
                found.setdefault(inputs, activation_widths)
            if layer.group not in found:
                is_float = with_float and all(member.integer_kernel for member in self.groups[layer.group])
                found[layer.group] = self.weight_bits(layer.group, weight_bits) + ((FLOAT_CHOICE,) if is_float else ())
        return found

    def weight_bits(self, group: str, wanted: Sequence[int]) -> tuple[int, ...]:
        """The bit-widths of a group of layers: those that are wanted and that all of them can have.

        Args:
            group: Name of the group.
            wanted: Bit-widths, in any order.

        Returns:
            Ascending. Where the layers can have none of them, the smallest that they can have and that is no smaller.
        """
        found = tuple(sorted(set(wanted)))
        # Layers of a group are of one kind.
        allowed = self.groups[group][0].allowed_bits
        if allowed is None:
            return found
        possible = tuple(bits for bits in found if bits in allowed)
        return possible or (min((bits for bits in allowed if bits >= max(wanted)), default=max(allowed)),)

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
    scope = algorithm.ignored_scope(with_layers_of(ignored_scopes, operations, "compression.ignored_scopes"))
    with algorithm.quiet_nncf():
        try:
            placement = algorithm.find_placement(model, scope)
        except nncf.ValidationError as error:
            raise ConfigError(
                "compression.ignored_scopes", list(ignored_scopes), f"names in the model ({reason_of(error)})"
            ) from error
        forms = {
            (point.operation, point.port): layer_form(operations[point.operation], point.port)
            for point in placement.weights
        }
        supported = {operation for (operation, _), form in forms.items() if isinstance(form, LayerForm)}
        unsupported = {name: form for (name, _), form in forms.items() if isinstance(form, str)}
        unsupported = {name: reason for name, reason in unsupported.items() if name not in supported}
        if unsupported:
            # NNCF quantizes more kinds of operations than have an int8 kernel with packed weights: they stay float.
            scope.names = sorted({*scope.names, *unsupported})
            placement = algorithm.find_placement(model, scope)
    layers = _find_layers(operations, placement, forms)
    if not layers:
        raise QuantizationError("the model has no Convolution or MatMul with constant weights that could be quantized")
    for layer in layers:
        if not np.isfinite(layer_weight(layer, operations[layer.name])).all():
            raise QuantizationError(f"{layer.name}: its weights hold values that are not finite")
    points = tuple(
        dataclasses.replace(point, per_channel=point.per_channel and per_channel_activations)
        for point in placement.activations
        if _is_needed(point, operations, layers)
    )
    names = {point.name for point in points}
    unified = (tuple(name for name in group if name in names) for group in placement.unified_scales)
    unified_scales = tuple(group for group in unified if len(group) > 1)
    return QuantizableModel(model, layers, points, unified_scales, scope, unsupported=unsupported)


def layer_weight(layer: QuantizableLayer, operation: ov.Node) -> NDArray[np.float32]:
    """The float weights of a layer in its `weight_shape`.

    Args:
        layer: The layer.
        operation: The operation of that name in the float model.
    """
    parts = [constant_value(operation, port) for port in layer.weight_ports]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def weight_matrices(layer: QuantizableLayer, operation: ov.Node) -> NDArray[np.float32]:
    """(groups, rows, columns) the float weights of a layer, a copy.

    Args:
        layer: The layer.
        operation: The operation of that name in the float model.
    """
    return np.array(layer.to_matrices(layer_weight(layer, operation)), dtype=np.float32)


def _find_layers(
    operations: Mapping[str, ov.Node],
    placement: QuantizerPlacement,
    forms: Mapping[tuple[str, int], LayerForm | str],
) -> tuple[QuantizableLayer, ...]:
    layers: list[QuantizableLayer] = []
    group_of_constant: dict[tuple[object, ...], str] = {}
    for point in placement.weights:
        form = forms[point.operation, point.port]
        if isinstance(form, str):
            continue
        operation = operations[point.operation]
        recurrent = operation.get_type_name() in STATE_PORTS
        quantizers = tuple(
            item.name
            for item in placement.activations
            if point.operation in item.operations and (not recurrent or item.reaches(operation))
        )
        cause = form.float_cause or (None if quantizers or not recurrent else "its input is not quantized by NNCF")
        shape = tuple(operation.get_input_shape(point.port))
        layer = QuantizableLayer(
            name=point.operation,
            kind=form.kind,
            weight_port=point.port,
            weight_shape=shape if form.kind not in RECURRENT_PORTS else (*shape[:-1], form.columns),
            groups=form.groups,
            rows=form.rows,
            columns=form.columns,
            transposed=form.transposed,
            macs=form.macs,
            activation_quantizers=quantizers if cause is None else (),
            group=point.operation,
            float_cause=cause,
            allowed_bits=form.allowed_bits,
        )
        constants = tuple(constant_of(operation, port).get_friendly_name() for port in layer.weight_ports)
        # A constant that is read in two layouts is quantized twice: its channels are not the same rows.
        layout = (constants, layer.groups, layer.rows, layer.columns, layer.transposed, layer.kind == "embedding")
        layers.append(dataclasses.replace(layer, group=group_of_constant.setdefault(layout, layer.name)))
    causes = recurrent_float_causes(layers, operations)
    return tuple(
        dataclasses.replace(layer, float_cause=causes[layer.group], activation_quantizers=())
        if layer.group in causes
        else layer
        for layer in layers
    )


def _is_needed(point: ActivationPoint, operations: Mapping[str, ov.Node], layers: Sequence[QuantizableLayer]) -> bool:
    """Whether an operation computes in int8 with the values of an activation point."""
    without_kernel = {layer.name for layer in layers if not layer.integer_kernel}

    def reads(name: str) -> bool:
        if name in without_kernel:
            return False
        return operations[name].get_type_name() not in STATE_PORTS or point.reaches(operations[name])

    return not point.operations or any(map(reads, point.operations))
