"""Activation grids of 2 to 8 bits that the CPU plugin computes exactly, on int8 kernels, after save and reload.

The plugin runs int8 behind a FakeQuantize of 16 or 256 levels, and f32 behind any other level count. A grid of another
width is therefore a FakeQuantize of 2**bits levels, which does the rounding, followed by one of 256 levels with the
same step, which says int8 and changes no value.

At a residual Add the plugin fuses the convolution of one branch with the sum, and drops the rounding of a FakeQuantize
of 16 or 256 levels between the two: the sum then sees values that are off the grid, in a plain 8-bit model too. A
FakeQuantize of any other level count keeps its rounding there. At 4 and 8 bits the grid is therefore computed with one
level more, and the FakeQuantize that follows clips that level away.

`Clamp` and a FakeQuantize of 256 levels is the other form that comes to mind. It is not used: it loses the rounding at
a residual Add like the plain one, and took about 6 % longer than two FakeQuantize.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.nodes import VALUE_PRESERVING
from nncf_mcq.policy import SUPPORTED_BITS
from nncf_mcq.utils.disjoint_sets import merge_overlapping

# Level counts that the plugin takes for low precision; they are also those whose rounding it drops at an Add.
_LOW_PRECISION_LEVELS = (16, 256)

# A zero point further from an integer than this, in steps, is no rounding error.
_ZERO_POINT_TOLERANCE = 1e-2

_LAYER_TYPES = frozenset({"Convolution", "GroupConvolution", "MatMul", "ConvolutionBackpropData"})


@dataclass(frozen=True)
class ActivationGrid:
    """The values an activation can take: low + k * step for k in 0 .. 2**bits - 1.

    Attributes:
        low: Lowest value, scalar or one per channel in the activation's rank, e.g. (1, C, 1, 1).
        high: Highest value, in the shape of `low`.
        bits: 2 to 8.

    Per-channel grids run in int8 in front of a depthwise convolution only.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    bits: int

    @classmethod
    def from_range(cls, low: npt.ArrayLike, high: npt.ArrayLike, bits: int) -> ActivationGrid:
        """Makes a grid from its lowest and highest value.

        Raises:
            QuantizationError: The width is not one of 2..8, a range is empty or not finite, or zero is not on the grid.
        """
        lows, highs = np.broadcast_arrays(np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64))
        if bits not in SUPPORTED_BITS:
            raise QuantizationError(f"activation bits: found {bits!r}, allowed: 2 to 8")
        if not (np.isfinite(lows).all() and np.isfinite(highs).all() and (lows < highs).all()):
            raise QuantizationError(f"activation range: found {low!r}..{high!r}, allowed: finite, low < high")
        grid = cls(lows, highs, bits)
        zero_points = grid.zero_point
        if (
            zero_points.min() < 0
            or zero_points.max() >= 2**bits
            or np.abs(-lows / grid.step - zero_points).max() > _ZERO_POINT_TOLERANCE
        ):
            # Padding inserts zeros: a grid without them is not the grid that the layer sees.
            raise QuantizationError(
                f"activation range: found {low!r}..{high!r}, allowed: a {bits}-bit grid that holds 0"
            )
        return grid

    @classmethod
    def from_thresholds(cls, low: npt.ArrayLike, high: npt.ArrayLike, bits: int) -> ActivationGrid:
        """The grid of a symmetric range, -high to high, of one from zero, or of the ends of an asymmetric grid.

        A symmetric grid keeps its largest positive value, and reaches one step further below.
        """
        lows, highs = (np.asarray(bound, dtype=np.float64) for bound in (low, high))
        if (lows == -highs).all():
            step = highs / (2 ** (bits - 1) - 1)
            return cls.from_range(-(2 ** (bits - 1)) * step, highs, bits)
        return cls.from_range(lows, highs, bits)

    @property
    def step(self) -> npt.NDArray[np.float64]:
        """Distance of two neighbouring values, in the shape of `low`."""
        step: npt.NDArray[np.float64] = (self.high - self.low) / (2**self.bits - 1)
        return step

    @property
    def zero_point(self) -> npt.NDArray[np.int64]:
        """The k of the value 0, in the shape of `low`."""
        return np.rint(-self.low / self.step).astype(np.int64)

    @property
    def signed(self) -> bool:
        """Whether a value is below zero."""
        return bool((self.zero_point > 0).any())

    @property
    def symmetric(self) -> bool:
        """Whether it reaches as far below zero as above, but for one step."""
        return bool((self.zero_point == 2 ** (self.bits - 1)).all())


def set_activation_grid(fake_quantize: ov.Node, grid: ActivationGrid) -> ov.Node:
    """Puts a grid in the place of a FakeQuantize, for all its consumers.

    Call it when the graph around the FakeQuantize is complete: the form depends on the consumers. The result is
    bit-exact and int8 for symmetric and unsigned grids, and for asymmetric ones below 8 bits but at an Add (see
    `grids_at_sums`), which are stored as symmetric int8; at 8 bits an asymmetric grid leaves its zero point to the
    plugin. What it costs in latency, relative to plain 8-bit activations: about 2 % at 8 bits (at residual Adds,
    nothing elsewhere) and about 12 % below 8 bits on a MobileNetV2-like chain at batch 1, no measurable difference on a
    ResNet-like chain.

    Args:
        fake_quantize: The FakeQuantize to replace; it is left without consumers.
        grid: The grid of its output.

    Returns:
        The node that produces the grid; it has the friendly name of `fake_quantize`.
    """
    name = fake_quantize.get_friendly_name()
    consumers = list(fake_quantize.output(0).get_target_inputs())
    levels = 2**grid.bits
    low, high, step = grid.low, grid.high, grid.step
    data = fake_quantize.input_value(0)
    if levels in _LOW_PRECISION_LEVELS:
        if feeds_only_sums(fake_quantize):
            data = _fake_quantize(data, low, high + step, levels + 1, f"{name}/grid").output(0)
        replacement = _fake_quantize(data, low, high, levels, name)
    else:
        data = _fake_quantize(data, low, high, levels, f"{name}/grid").output(0)
        lowest = -128 * step if grid.signed else low
        replacement = _fake_quantize(data, lowest, lowest + 255 * step, 256, name)
    for consumer in consumers:
        consumer.replace_source_output(replacement.output(0))
    return replacement


def feeds_only_sums(fake_quantize: ov.Node) -> bool:
    """Whether an Add of two activations reads the FakeQuantize, and no layer with weights does.

    Where a layer with weights reads it as well, its rounding is kept by the plugin in any case.
    """
    kinds = [
        "sum" if _is_sum(consumer.get_node()) else consumer.get_node().get_type_name()
        for consumer in fake_quantize.output(0).get_target_inputs()
    ]
    return "sum" in kinds and not _LAYER_TYPES.intersection(kinds)


def concat_groups(model: ov.Model) -> list[list[ov.Node]]:
    """FakeQuantize nodes that must share one grid: those that meet in a Concat, and those that follow one another.

    The plugin aligns the inputs of a Concat to one step, and does it wrongly where their steps differ. FakeQuantize
    nodes that reach the Concat through operations that preserve the values count too (Reshape, MaxPool, another Concat,
    nearest upsampling). Where such operations alone lie between two FakeQuantize nodes, as around the upsampling in
    front of a Concat, the second would round once more what the first has rounded: on one grid it changes nothing.
    Groups that share a node are one.

    Args:
        model: The model, with its FakeQuantize nodes in place.

    Returns:
        Groups of two or more nodes, in the order of the model.
    """
    order = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    meeting: list[list[ov.Node]] = []
    for node in order.values():
        if node.get_type_name() == "Concat":
            meeting.append(list(_grid_sources(value.get_node() for value in node.input_values())))
        elif node.get_type_name() == "FakeQuantize":
            meeting.append([node, *_grid_sources([node.input_value(0).get_node()])])
    groups = merge_overlapping([source.get_friendly_name() for source in sources] for sources in meeting)
    return [[node for name, node in order.items() if name in group] for group in groups if len(group) > 1]


def grids_at_sums(model: ov.Model) -> set[str]:
    """Friendly names of the FakeQuantize nodes that must not be asymmetric, as the plugin rounds them wrongly.

    It does so where their values reach an Add of two activations. Those that share a grid with one of them follow.

    Args:
        model: The model, with its FakeQuantize nodes in place.
    """
    sums = [node for node in model.get_ops() if _is_sum(node)]
    inputs = [value.get_node() for node in sums for value in node.input_values()]
    found = {source.get_friendly_name() for source in _grid_sources(inputs)}
    for group in concat_groups(model):
        names = {node.get_friendly_name() for node in group}
        if names & found:
            found |= names
    return found


def unify_grids(grids: Sequence[ActivationGrid]) -> ActivationGrid:
    """The per-tensor grid that a group shares: the widest width over the union of the ranges.

    Args:
        grids: The grids of one group.

    Returns:
        Their common grid: unsigned if all are; signed symmetric if all signed ones are; else asymmetric.
    """
    bits = max(grid.bits for grid in grids)
    low = min(float(grid.low.min()) for grid in grids)
    high = max(float(grid.high.max()) for grid in grids)
    if low >= 0:
        return ActivationGrid.from_range(0.0, high, bits)
    if not all(grid.symmetric for grid in grids if grid.signed):
        top = 2**bits - 1
        zero_point = round(-low / (high - low) * top)
        zero_point = min(max(zero_point, 1), top - 1)
        # Covers both ends, which rounding the zero point has moved apart.
        step = max(-low / zero_point, high / (top - zero_point))
        return ActivationGrid.from_range(-zero_point * step, (top - zero_point) * step, bits)
    positive, negative = 2 ** (bits - 1) - 1, 2 ** (bits - 1)
    step = max(high / positive, -low / negative)
    return ActivationGrid.from_range(-negative * step, positive * step, bits)


def unify_concat_grids(model: ov.Model, grids: Mapping[str, ActivationGrid]) -> dict[str, ActivationGrid]:
    """Gives all inputs of one Concat the same grid.

    Args:
        model: The model, with its FakeQuantize nodes in place.
        grids: Friendly name of a FakeQuantize to its grid.

    Returns:
        All the grids, those of a group replaced by the common one.
    """
    unified = dict(grids)
    for group in concat_groups(model):
        names = [node.get_friendly_name() for node in group if node.get_friendly_name() in grids]
        if names:
            unified.update(dict.fromkeys(names, unify_grids([grids[name] for name in names])))
    return unified


def set_activation_grids(model: ov.Model, grids: Mapping[str, ActivationGrid]) -> None:
    """Puts grids in the place of FakeQuantize nodes; inputs of one Concat get their common grid.

    Args:
        model: The model; it is changed in place.
        grids: Friendly name of a FakeQuantize to its grid.

    Raises:
        QuantizationError: A name is not that of a FakeQuantize of the model.
    """
    nodes = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"}
    unknown = sorted(set(grids) - set(nodes))
    if unknown:
        raise QuantizationError(f"activation quantizers: found {unknown}, allowed: names of FakeQuantize nodes")
    for name, grid in unify_concat_grids(model, grids).items():
        set_activation_grid(nodes[name], grid)
    model.validate_nodes_and_infer_types()


def _fake_quantize(
    data: ov.Output, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], levels: int, name: str
) -> ov.Node:
    bounds = [opset.constant(bound.astype(np.float32), dtype=ov.Type.f32) for bound in (low, high)]
    node: ov.Node = opset.fake_quantize(data, *bounds, *bounds, levels)
    node.set_friendly_name(name)
    return node


def _is_sum(node: ov.Node) -> bool:
    if node.get_type_name() != "Add":
        return False
    return all(value.get_node().get_type_name() != "Constant" for value in node.input_values())


def _grid_sources(nodes: Iterable[ov.Node]) -> Iterable[ov.Node]:
    """The FakeQuantize nodes whose values reach the outputs of the nodes unchanged."""
    pending = list(nodes)
    visited: set[str] = set()
    while pending:
        node = pending.pop()
        if node.get_name() in visited:
            continue
        visited.add(node.get_name())
        if node.get_type_name() == "FakeQuantize":
            yield node
        elif _preserves_values(node):
            pending.extend(value.get_node() for value in node.input_values())


def _preserves_values(node: ov.Node) -> bool:
    if node.get_type_name() == "Interpolate":
        return str(node.get_attributes()["mode"]).lower() == "nearest"
    return node.get_type_name() in VALUE_PRESERVING
