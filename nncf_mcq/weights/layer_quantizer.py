"""One layer's weights at any width: clipped, rounded and corrected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.config.types import Coding
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.policy import INT8_BITS
from nncf_mcq.range_init.base import RangeChoice, RangeTask
from nncf_mcq.range_init.grid import Grid
from nncf_mcq.weights.level_range import level_range
from nncf_mcq.weights.moments import (
    OutputMoments,
    apply_covariance,
    bias_shift,
    energy_gain,
    multiply,
    regression_gain,
)
from nncf_mcq.weights.rounding import (
    Compensation,
    DampedMoments,
    damp,
    descend,
    prepare_compensation,
    round_to_nearest,
    round_with_compensation,
)
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.trellis import alphabet, decode, is_tried
from nncf_mcq.weights.trellis_search import CodedLayer, TrellisSearch

_CODED_TOGETHER = 1 << 23
"""Weights at most, of all bit-widths, that are coded side by side: of more, single ones take as little time and less
memory."""

_CODED_SWEEPS = 1
"""Of coded weights: a sequence that was found as a whole leaves later sweeps little, a hundredth of the error."""


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
        coding: How the levels stand for values: on a grid, or as `nncf_mcq.weights.trellis` says; the zero point is 0
            then.
        on_grid: Of trellis-coded weights the same layer on a grid of as many bits, where fine-tuning starts.
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
    coding: Coding = "uniform"
    on_grid: QuantizedWeight | None = None

    @property
    def integers(self) -> NDArray[np.int16]:
        """(groups, rows, columns) the whole numbers that the levels stand for."""
        if self.coding == "trellis":
            return self._decoded.astype(np.int16)
        return self.levels.astype(np.int16) - self.zero_point[..., None].astype(np.int16)

    @cached_property
    def _decoded(self) -> NDArray[np.int8]:
        """The integers of trellis-coded weights: every model of a policy that has them asks for them."""
        return decode(self.levels[0], self.bits)[None]

    def with_bias(self, shift_for: Callable[[torch.Tensor], torch.Tensor]) -> QuantizedWeight:
        """With other shifts of the bias.

        Args:
            shift_for: That for weights (groups, rows, columns).
        """
        on_grid = None if self.on_grid is None else self.on_grid.with_bias(shift_for)
        shift: NDArray[np.float32] = shift_for(torch.from_numpy(self.values)).numpy()
        return dataclasses.replace(self, bias_shift=shift, on_grid=on_grid)

    @property
    def values(self) -> NDArray[np.float32]:
        """(groups, rows, columns) the weights that the levels stand for."""
        result: NDArray[np.float32] = self.integers.astype(np.float32) * self.scale[..., None]
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
        self.config = scheme.weights
        self.correction = scheme.correction
        self.range_initializer = scheme.ranges.for_layer(layer.name)
        self.fisher = fisher
        self.product = apply_covariance(weights[None], statistics)[0]
        self.float_variance = (self.product * weights).sum(dim=2).clamp_min_(0)
        self.variance = self.float_variance if variance is None else variance
        # A constant offset of the output costs nothing where the bias takes it off.
        self.moments = statistics.covariance if self.correction.bias else statistics.second_moment
        self._rounded: tuple[Grid, tuple[Grid, torch.Tensor, OutputMoments]] | None = None

    @cached_property
    def compensation(self) -> Compensation | None:
        """Factors of the input's moments; None where weights are rounded to the nearest level."""
        if self.correction.rounding == "nearest" or self.moments is None:
            return None
        return prepare_compensation(self.moments)

    @cached_property
    def damped(self) -> DampedMoments | None:
        """Moments for coordinate descent; None where levels stay as they were rounded."""
        if self.correction.rounding != "coordinate_descent" or self.moments is None:
            return None
        return damp(self.moments)

    def quantize(self, bits: int) -> QuantizedWeight:
        """The layer at one width; its bias shift is left at zero, see `with_bias`."""
        return self.quantize_all((bits,))[bits]

    def quantize_all(self, bits: Sequence[int]) -> dict[int, QuantizedWeight]:
        """The layer at some widths, as `quantize`; in less time where weights are trellis-coded.

        Args:
            bits: The widths.
        """
        entries = {width: self._quantize_uniformly(width) for width in bits}
        tried = [width for width in bits if is_tried(self.layer, width, self.config)]
        if self.compensation is None or not tried:
            return entries
        together = max(_CODED_TOGETHER // (self.layer.rows * self.layer.columns), 1)
        for first in range(0, len(tried), together):
            uniform = [entries[width] for width in tried[first : first + together]]
            for coded in self._code(uniform, self.compensation):
                if coded.relative_error < entries[coded.bits].relative_error:
                    entries[coded.bits] = coded
        return entries

    def _quantize_uniformly(self, bits: int) -> QuantizedWeight:
        levels_of = level_range(self.layer, bits, self.config)
        choice = self.range_initializer.find_range(
            RangeTask(
                weights=self.weights,
                bits=levels_of.grid_bits,
                mode=levels_of.mode,
                per_channel=self.per_channel,
                statistics=self.statistics,
                output_error=self._output_error,
                fisher=self.fisher,
                output_variance=self.float_variance,
            )
        )
        grid, levels, moments = self._round_choice(_stacked(choice.grid))
        choice_error = moments.error
        # At 8 bits no level is left that would be worth moving: what it gains is lost in the noise of the activations.
        if bits < INT8_BITS:
            grid, levels, moments = self._improve(grid, levels, moments)
        if self.correction.gain == "energy":
            gain = energy_gain(moments, self.variance, self.per_channel)
            grid, moments = _scaled(grid, gain), moments.scaled(gain)
        total = max(float(self.float_variance.sum()), 1e-20)
        counts = torch.bincount(choice.rule.flatten(), minlength=len(choice.rules)).tolist()
        rule_errors = [] if choice.errors is None else (choice.errors.sum(dim=(1, 2)) / total).tolist()
        scale = grid.scale[0].numpy()
        return QuantizedWeight(
            bits=bits,
            levels=(levels[0] + levels_of.offset).to(torch.uint8).numpy(),
            zero_point=(grid.zero_point[0] + levels_of.offset).to(torch.uint8).numpy(),
            scale=scale,
            bias_shift=np.zeros(scale.shape, dtype=np.float32),
            relative_error=float(moments.error.sum()) / total,
            rule=choice.dominant_rule,
            rule_counts=dict(zip(choice.rules, counts, strict=True)),
            rule_errors=dict(zip(choice.rules, rule_errors, strict=True)) if rule_errors else {},
            choice_error=float(choice_error.sum()) / total,
            clip=self._clip_range(choice),
        )

    def _code(self, uniform: Sequence[QuantizedWeight], compensation: Compensation) -> Iterator[QuantizedWeight]:
        """The layer with trellis-coded weights; only the scales are left of the ranges.

        Args:
            uniform: It on grids of the same widths.
            compensation: Of the layer.
        """
        search = TrellisSearch(self.weights[0], [entry.bits for entry in uniform], compensation, self.per_channel)
        coded = search.code()
        moments = self._fit_scale(coded)
        total = max(float(self.float_variance.sum()), 1e-20)
        choice_errors = moments.error.sum(dim=(1, 2)) / total
        if self.damped is not None:
            for _ in range(min(self.correction.sweeps, _CODED_SWEEPS)):
                pull = multiply(self.weights - coded.values, self.damped.matrices)[:, 0]
                search.improve(coded, self.damped, pull)
                moments = self._fit_scale(coded)
        if self.correction.gain == "energy":
            gain = energy_gain(moments, self.variance, self.per_channel)
            coded.scale, moments = coded.scale * gain[:, 0], moments.scaled(gain)
        errors = moments.error.sum(dim=(1, 2)) / total
        for index, (entry, levels) in enumerate(zip(uniform, coded.matrices(coded.levels), strict=True)):
            scale = coded.scale[index]
            largest = (scale * float(alphabet(entry.bits)[-1])).reshape(self.layer.channel_shape()).numpy()
            yield QuantizedWeight(
                bits=entry.bits,
                levels=levels[None].copy(),
                zero_point=np.zeros_like(entry.zero_point),
                scale=scale[None].numpy(),
                bias_shift=np.zeros_like(entry.bias_shift),
                relative_error=float(errors[index]),
                rule="trellis",
                rule_counts={"trellis": self.layer.rows},
                rule_errors=dict(entry.rule_errors),
                choice_error=float(choice_errors[index]),
                clip=ValueRange(-largest, largest),
                coding="trellis",
                on_grid=entry,
            )

    def _fit_scale(self, coded: CodedLayer) -> OutputMoments:
        """The moments of the output, with the regression gain in the scale."""
        moments = self._measured(self.weights - coded.values)
        if self.correction.gain == "none":
            return moments
        gain = regression_gain(moments, self.per_channel)
        coded.scale = coded.scale * gain[:, 0]
        return moments.scaled(gain)

    def with_bias(self, entry: QuantizedWeight, statistics: LayerStatistics) -> QuantizedWeight:
        """The entry with the bias shift that keeps the mean of the output for inputs of these moments."""
        if not self.correction.bias:
            return entry
        return entry.with_bias(lambda values: bias_shift(self.weights, values, statistics))

    def _round(self, grid: Grid) -> tuple[Grid, torch.Tensor, OutputMoments]:
        """Rounds to candidates: their grids with the regression gain in the scale, levels, and the outputs' moments."""
        if self.compensation is None:
            levels = round_to_nearest(self.weights, grid)
            moments = self._measured(self.weights - grid.values(levels))
        else:
            levels, loss = round_with_compensation(self.weights, grid, self.compensation)
            difference = self.weights - grid.values(levels)
            moments = self._output_moments(difference, loss, self.compensation.damping)
        fitted, moments = self._fitted(grid, moments)
        return fitted, levels, moments

    def _measured(self, difference: torch.Tensor) -> OutputMoments:
        """Moments of the output for (candidates, groups, rows, columns) float minus quantized weights."""
        error = (apply_covariance(difference, self.statistics) * difference).sum(dim=3).clamp_min_(0)
        cross = torch.einsum("kgrc,grc->kgr", difference, self.product)
        return OutputMoments(self.float_variance, cross, error)

    def _round_choice(self, grid: Grid) -> tuple[Grid, torch.Tensor, OutputMoments]:
        """The same for the ranges chosen; taken from the candidates rounded last where those hold all of them."""
        if self._rounded is None:
            return self._round(grid)
        candidates, (fitted, levels, moments) = self._rounded
        self._rounded = None
        same = (candidates.scale == grid.scale) & (candidates.zero_point == grid.zero_point)
        if not bool(same.any(dim=0).all()):
            return self._round(grid)
        index = same.to(torch.uint8).argmax(dim=0, keepdim=True)
        scale, zero_point, cross, error = (
            values.gather(0, index) for values in (fitted.scale, fitted.zero_point, moments.cross, moments.error)
        )
        levels = levels.gather(0, index[..., None].expand(*index.shape, levels.shape[3]))
        return Grid(scale, zero_point, grid.low, grid.high), levels, OutputMoments(moments.variance, cross, error)

    def _improve(
        self, grid: Grid, levels: torch.Tensor, moments: OutputMoments
    ) -> tuple[Grid, torch.Tensor, OutputMoments]:
        """Alternates between the best levels on the grid and the best scale for the levels."""
        if self.damped is None:
            return grid, levels, moments
        matrices, damping = self.damped.matrices, self.damped.damping
        difference = self.weights - grid.values(levels)
        pull = multiply(difference, matrices)
        for _ in range(self.correction.sweeps):
            levels, pull = descend(grid, levels, pull, matrices)
            difference = self.weights - grid.values(levels)
            moments = self._output_moments(difference, (pull * difference).sum(dim=3), damping)
            fitted, moments = self._fitted(grid, moments)
            # The quantized weights q became g q: their error w - q became g (w - q) - (g - 1) w.
            gain = (fitted.scale / grid.scale)[..., None]
            pull.mul_(gain).sub_((gain - 1) * self._pull_of_weights(damping))
            grid = fitted
        return grid, levels, moments

    def _fitted(self, grid: Grid, moments: OutputMoments) -> tuple[Grid, OutputMoments]:
        """With the regression gain in the scale."""
        if self.correction.gain == "none":
            return grid, moments
        gain = regression_gain(moments, self.per_channel)
        return _scaled(grid, gain), moments.scaled(gain)

    def _output_moments(self, difference: torch.Tensor, loss: torch.Tensor, damping: torch.Tensor) -> OutputMoments:
        """Moments of the output, from the error under the damped moments that weights were rounded with.

        Args:
            difference: (candidates, groups, rows, columns) float minus quantized weights.
            loss: (candidates, groups, rows) their error.
            damping: (groups,) in it.
        """
        error = loss - damping[:, None] * difference.square().sum(dim=3)
        if not self.correction.bias:
            # Of the second moment, which the rounding goes by, to the covariance.
            error = error - torch.einsum("kgrc,gc->kgr", difference, self.statistics.mean).square()
        cross = torch.einsum("kgrc,grc->kgr", difference, self.product)
        return OutputMoments(self.float_variance, cross, error.clamp_min_(0))

    def _pull_of_weights(self, damping: torch.Tensor) -> torch.Tensor:
        """(groups, rows, columns) the weights times the damped moments."""
        pull = self.product + damping[:, None, None] * self.weights
        if not self.correction.bias:
            mean = self.statistics.mean
            pull += torch.einsum("grc,gc->gr", self.weights, mean)[..., None] * mean[:, None, :]
        return pull

    def _output_error(self, grid: Grid) -> torch.Tensor:
        found = self._round(grid)
        self._rounded = grid, found
        return found[2].error

    def _clip_range(self, choice: RangeChoice) -> ValueRange:
        shape = self.layer.channel_shape()
        low, high = choice.grid.range_low, choice.grid.range_high
        return ValueRange(low.numpy().reshape(shape), high.numpy().reshape(shape))


def _stacked(grid: Grid) -> Grid:
    return Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high)


def _scaled(grid: Grid, gain: torch.Tensor) -> Grid:
    return Grid(grid.scale * gain, grid.zero_point, grid.low, grid.high)
