"""One layer's weights at any width: clipped, rounded and corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.range_init.base import RangeChoice, RangeTask
from nncf_mcq.range_init.grid import Grid
from nncf_mcq.weights.moments import (
    bias_shift,
    energy_gain,
    output_error,
    output_variance,
    regression_gain,
)
from nncf_mcq.weights.rounding import (
    Compensation,
    damp,
    descend,
    prepare_compensation,
    round_to_nearest,
    round_with_compensation,
)
from nncf_mcq.weights.scheme import WeightScheme


@dataclass(frozen=True)
class QuantizedWeight:
    """The weights of one layer at one width, ready to be packed.

    Attributes:
        bits: Width.
        levels: (groups, rows, columns) uint8 levels in 0..2^bits - 1.
        zero_point: (groups, rows) uint8.
        scale: (groups, rows) float32, gain included: `weight = scale * (level - zero_point)`.
        bias_shift: (groups, rows) float32 added to the layer's output.
        relative_error: Variance of the difference to the layer's float output, relative to the output's own variance.
        rule: The clipping rule that most channels chose.
        rule_counts: Number of channels by the rule that they chose.
        rule_errors: Relative error that each rule would leave if it served all channels.
        choice_error: Relative error of the choice, measured as `rule_errors`: after error-compensated rounding and the
            regression gain, before levels are improved.
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
    choice_error: float
    clip: ValueRange

    @property
    def values(self) -> NDArray[np.float32]:
        """(groups, rows, columns) the weights that the levels stand for."""
        offset = self.levels.astype(np.float32) - self.zero_point[..., None].astype(np.float32)
        result: NDArray[np.float32] = offset * self.scale[..., None]
        return result


class LayerQuantizer:
    """Quantizes one layer at any width; what does not depend on the width is computed once.

    Args:
        layer: The layer.
        weights: (groups, rows, columns) the weights to come close to.
        statistics: Moments of the layer's input.
        scheme: How weights are quantized.
        fisher: (groups, rows, columns) Fisher information of the weights, for rules that need it.
        variance: (groups, rows) variance that the outputs should have; that of the weights' own by default.
    """

    def __init__(
        self,
        layer: QuantizableLayer,
        weights: torch.Tensor,
        statistics: LayerStatistics,
        scheme: WeightScheme,
        *,
        fisher: torch.Tensor | None = None,
        variance: torch.Tensor | None = None,
    ) -> None:
        self.layer = layer
        self.weights = weights
        self.statistics = statistics
        self.per_channel = scheme.weights.per_channel
        self.mode = scheme.weights.mode
        self.correction = scheme.correction
        self.range_initializer = scheme.ranges.for_layer(layer.name)
        self.fisher = fisher
        self.float_variance = output_variance(weights, statistics)
        self.variance = self.float_variance if variance is None else variance
        # A constant offset of the output costs nothing where the bias takes it off.
        self.moments = statistics.covariance if self.correction.bias else statistics.second_moment
        self.compensation: Compensation | None = None
        if self.correction.rounding != "nearest" and self.moments is not None:
            self.compensation = prepare_compensation(self.moments)
        self.damped: torch.Tensor | None = None
        if self.correction.rounding == "coordinate_descent" and self.moments is not None:
            self.damped = damp(self.moments)

    def quantize(self, bits: int) -> QuantizedWeight:
        """The layer at one width; its bias shift is left at zero, see `bias_shift`."""
        choice = self.range_initializer.find_range(
            RangeTask(
                weights=self.weights,
                bits=bits,
                mode=self.mode,
                per_channel=self.per_channel,
                statistics=self.statistics,
                output_error=self._output_error,
                fisher=self.fisher,
            )
        )
        levels, grid = self._round(_stacked(choice.grid))
        choice_error = self._error(levels, grid)
        levels, grid = self._improve(levels, grid)
        if self.correction.gain == "energy":
            quantized = grid.values(levels)
            grid = _scaled(grid, energy_gain(quantized, self.variance, self.statistics, self.per_channel))
        total = max(float(self.float_variance.sum()), 1e-20)
        counts = torch.bincount(choice.rule.flatten(), minlength=len(choice.rules)).tolist()
        rule_errors = [] if choice.errors is None else (choice.errors.sum(dim=(1, 2)) / total).tolist()
        scale = grid.scale[0].numpy()
        return QuantizedWeight(
            bits=bits,
            levels=levels[0].to(torch.uint8).numpy(),
            zero_point=grid.zero_point[0].to(torch.uint8).numpy(),
            scale=scale,
            bias_shift=np.zeros(scale.shape, dtype=np.float32),
            relative_error=float(self._error(levels, grid).sum()) / total,
            rule=choice.dominant_rule,
            rule_counts=dict(zip(choice.rules, counts, strict=True)),
            rule_errors=dict(zip(choice.rules, rule_errors, strict=True)) if rule_errors else {},
            choice_error=float(choice_error.sum()) / total,
            clip=self._clip_range(choice),
        )

    def bias_shift(self, entry: QuantizedWeight, statistics: LayerStatistics) -> NDArray[np.float32]:
        """(groups, rows) what keeps the mean of the output for inputs of these moments; zero where it is turned off."""
        if not self.correction.bias:
            return np.zeros(entry.scale.shape, dtype=np.float32)
        shift: NDArray[np.float32] = bias_shift(self.weights, torch.from_numpy(entry.values), statistics).numpy()
        return shift

    def _round(self, grid: Grid) -> tuple[torch.Tensor, Grid]:
        """Levels of each candidate, and the grid with the regression gain in its scale."""
        if self.compensation is None:
            levels = round_to_nearest(self.weights, grid)
        else:
            levels = round_with_compensation(self.weights, grid, self.compensation)
        return levels, self._fitted(levels, grid)

    def _improve(self, levels: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, Grid]:
        """Alternates between the best levels on the grid and the best scale for the levels."""
        if self.damped is None:
            return levels, grid
        for _ in range(self.correction.sweeps):
            levels = descend(self.weights, grid, levels, self.damped)
            grid = self._fitted(levels, grid)
        return levels, grid

    def _fitted(self, levels: torch.Tensor, grid: Grid) -> Grid:
        if self.correction.gain == "none":
            return grid
        return _scaled(grid, regression_gain(self.weights, grid.values(levels), self.statistics, self.per_channel))

    def _error(self, levels: torch.Tensor, grid: Grid) -> torch.Tensor:
        return output_error(self.weights, grid.values(levels), self.statistics)

    def _output_error(self, grid: Grid) -> torch.Tensor:
        return self._error(*self._round(grid))

    def _clip_range(self, choice: RangeChoice) -> ValueRange:
        shape = self.layer.channel_shape()
        low, high = choice.grid.range_low, choice.grid.range_high
        return ValueRange(low.numpy().reshape(shape), high.numpy().reshape(shape))


def _stacked(grid: Grid) -> Grid:
    return Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high)


def _scaled(grid: Grid, gain: torch.Tensor) -> Grid:
    return Grid(grid.scale * gain, grid.zero_point, grid.low, grid.high)
