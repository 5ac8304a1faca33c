"""The clip table and the weight table: for every layer and width the range, the rounded weights and the corrections.

Built once, layer by layer, from the float model's statistics; a policy is then a look-up per layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nncf_mcq.algorithm import ValueRange
from nncf_mcq.config import CompressionConfig
from nncf_mcq.correction.moments import bias_shift, output_error, regression_gain
from nncf_mcq.correction.rounding import (
    Compensation,
    prepare_compensation,
    round_to_nearest,
    round_with_compensation,
)
from nncf_mcq.graph import constant_value, operations_by_name
from nncf_mcq.grid import Grid
from nncf_mcq.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.range_init.base import RangeChoice, RangeInitializer, RangeTask
from nncf_mcq.runtime import TorchPool
from nncf_mcq.statistics import LayerStatistics


@dataclass(frozen=True)
class QuantizedWeight:
    """The weights of one layer at one width, ready to be packed.

    Attributes:
        bits: Width.
        levels: (groups, rows, columns) uint8 levels in 0..2^bits - 1.
        zero_point: (groups, rows) uint8.
        scale: (groups, rows) float32, gain included: `weight = scale * (level - zero_point)`.
        bias_shift: (groups, rows) float32 added to the layer's output.
        relative_error: Variance that the rounding adds to the layer's output, relative to the output's own variance.
        rule: The clipping rule that most channels chose.
        rule_counts: Number of channels by the rule that they chose.
        rule_errors: Relative error that each rule would leave if it served all channels.
        clip: The range before rounding, in a shape that broadcasts to the layer's weights.
    """

    bits: int
    levels: NDArray[np.uint8]
    zero_point: NDArray[np.uint8]
    scale: NDArray[np.float32]
    bias_shift: NDArray[np.float32]
    relative_error: float
    rule: str
    rule_counts: Mapping[str, int]
    rule_errors: Mapping[str, float]
    clip: ValueRange

    @property
    def values(self) -> NDArray[np.float32]:
        """(groups, rows, columns) the weights that the levels stand for."""
        offset = self.levels.astype(np.float32) - self.zero_point[..., None].astype(np.float32)
        result: NDArray[np.float32] = offset * self.scale[..., None]
        return result


@dataclass(frozen=True)
class WeightTable:
    """Layer name and width to the layer's quantized weights."""

    entries: Mapping[str, Mapping[int, QuantizedWeight]]

    def __getitem__(self, key: tuple[str, int]) -> QuantizedWeight:
        name, bits = key
        return self.entries[name][bits]

    @property
    def bits(self) -> tuple[int, ...]:
        """The widths that every layer has."""
        return tuple(sorted(next(iter(self.entries.values()))))

    def errors(self, name: str) -> dict[int, float]:
        """Relative error of a layer's output by width."""
        return {bits: entry.relative_error for bits, entry in self.entries[name].items()}

    def clip_table(self, weight_bits: Mapping[str, int]) -> dict[str, ValueRange]:
        """The ranges of a policy, as the NNCF algorithm takes them."""
        return {name: self[name, bits].clip for name, bits in weight_bits.items()}


def build_weight_table(
    quantizable: QuantizableModel,
    statistics: Mapping[str, LayerStatistics],
    config: CompressionConfig,
    range_initializer: RangeInitializer,
    *,
    bits: Sequence[int] | Mapping[str, int] | None = None,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> WeightTable:
    """Clips, rounds and corrects the weights of every layer at every width.

    Args:
        quantizable: The float model and its layers.
        statistics: Moments of each layer's input.
        config: Mode, rounding and corrections.
        range_initializer: The clipping rule.
        bits: Widths to build, or the width of each layer; those of the configuration by default.
        threads: Layers built at a time.
        progress: Called after each layer.
    """
    operations = operations_by_name(quantizable.model)
    widths = config.weights.bits if bits is None else bits

    def build_group(members: tuple[QuantizableLayer, ...]) -> dict[str, dict[int, QuantizedWeight]]:
        first = members[0]
        weight = constant_value(operations[first.name], first.weight_port)
        weights = torch.from_numpy(np.ascontiguousarray(first.to_matrices(weight), dtype=np.float32))
        builder = _LayerBuilder(first, weights, statistics[first.name], config, range_initializer)
        built: dict[str, dict[int, QuantizedWeight]] = {member.name: {} for member in members}
        for width in [widths[first.name]] if isinstance(widths, Mapping) else sorted(set(widths)):
            entry = builder.build(width)
            for member in members:
                # Layers that share their weights differ in the mean of their inputs.
                shift = builder.bias_shift(entry, statistics[member.name])
                built[member.name][width] = dataclasses.replace(entry, bias_shift=shift)
        return built

    entries: dict[str, dict[int, QuantizedWeight]] = {}
    with TorchPool(threads) as pool:
        # The largest layers first: the last to finish is then a small one.
        groups = sorted(quantizable.groups.values(), key=lambda members: -members[0].weights * members[0].columns)
        for built in pool.map(build_group, groups):
            entries |= built
            for _ in built:
                progress()
    return WeightTable({layer.name: entries[layer.name] for layer in quantizable.layers})


class _LayerBuilder:
    """One layer's weights at any width; what does not depend on the width is computed once."""

    def __init__(
        self,
        layer: QuantizableLayer,
        weights: torch.Tensor,
        statistics: LayerStatistics,
        config: CompressionConfig,
        range_initializer: RangeInitializer,
    ) -> None:
        self.layer = layer
        self.weights = weights
        self.statistics = statistics
        self.config = config
        self.range_initializer = range_initializer
        self.output_variance = float(output_error(torch.zeros_like(weights), weights[None], statistics).sum())
        self.compensation: Compensation | None = None
        if config.correction.rounding == "error_compensated" and statistics.covariance is not None:
            moments = statistics.covariance if config.correction.bias else statistics.second_moment
            assert moments is not None
            self.compensation = prepare_compensation(moments)

    def build(self, bits: int) -> QuantizedWeight:
        choice = self.range_initializer.find_range(
            RangeTask(
                weights=self.weights,
                bits=bits,
                mode=self.config.weights.mode,
                per_channel=self.config.weights.per_channel,
                statistics=self.statistics,
                output_error=self._output_error,
            )
        )
        levels, grid, error = self._refined(_stacked(choice.grid))
        scale = grid.scale[0]
        total = max(self.output_variance, 1e-20)
        counts = torch.bincount(choice.rule.flatten(), minlength=len(choice.rules)).tolist()
        rule_errors = {} if choice.errors is None else (choice.errors.sum(dim=(1, 2)) / total).tolist()
        zero = np.zeros(scale.shape, dtype=np.float32)
        return QuantizedWeight(
            bits=bits,
            levels=levels[0].to(torch.uint8).numpy(),
            zero_point=grid.zero_point[0].to(torch.uint8).numpy(),
            scale=scale.numpy(),
            bias_shift=zero,
            relative_error=float(error.sum()) / total,
            rule=choice.dominant_rule,
            rule_counts=dict(zip(choice.rules, counts, strict=True)),
            rule_errors=dict(zip(choice.rules, rule_errors, strict=True)) if rule_errors else {},
            clip=self._clip_range(choice),
        )

    def bias_shift(self, entry: QuantizedWeight, statistics: LayerStatistics) -> NDArray[np.float32]:
        if not self.config.correction.bias:
            return np.zeros(entry.scale.shape, dtype=np.float32)
        shift: NDArray[np.float32] = bias_shift(self.weights, torch.from_numpy(entry.values), statistics).numpy()
        return shift

    def _round(self, grid: Grid) -> tuple[torch.Tensor, Grid, torch.Tensor]:
        """Levels, the grid with the gain in its scale, and the output error (candidates, groups, rows)."""
        if self.compensation is None:
            levels = round_to_nearest(self.weights, grid)
        else:
            levels = round_with_compensation(self.weights, grid, self.compensation)
        quantized = grid.values(levels)
        if self.config.correction.gain:
            gain = regression_gain(self.weights, quantized, self.statistics, self.config.weights.per_channel)
            grid = Grid(grid.scale * gain, grid.zero_point, grid.low, grid.high)
            quantized = quantized * gain[..., None]
        return levels, grid, output_error(self.weights, quantized, self.statistics)

    def _refined(self, grid: Grid) -> tuple[torch.Tensor, Grid, torch.Tensor]:
        """As `_round`, then alternating: the gain moves the grid, and other levels are the best on it."""
        levels, grid, error = self._round(grid)
        if not self.config.correction.gain:
            return levels, grid, error
        for _ in range(self.config.correction.refinements):
            new_levels, new_grid, new_error = self._round(grid)
            if self.config.weights.per_channel:
                better = new_error < error
            else:
                better = (new_error.sum() < error.sum()).expand_as(error)
            levels = torch.where(better[..., None], new_levels, levels)
            grid = Grid(torch.where(better, new_grid.scale, grid.scale), grid.zero_point, grid.low, grid.high)
            error = torch.where(better, new_error, error)
        return levels, grid, error

    def _output_error(self, grid: Grid) -> torch.Tensor:
        return self._round(grid)[2]

    def _clip_range(self, choice: RangeChoice) -> ValueRange:
        shape = self.layer.channel_shape()
        low, high = choice.grid.range_low, choice.grid.range_high
        return ValueRange(low.numpy().reshape(shape), high.numpy().reshape(shape))


def _stacked(grid: Grid) -> Grid:
    return Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high)
