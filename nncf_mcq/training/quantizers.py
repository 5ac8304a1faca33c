"""Quantizers whose step is learned, and weights that pass through them.

Learned step size after Esser et al., "Learned Step Size Quantization", ICLR 2020. The step is kept as the logarithm of
its ratio to the first one: it stays positive, and one learning rate suits layers of all magnitudes.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncf_mcq.config.types import Coding
from nncf_mcq.weights.trellis import alphabet

SMALLEST_STEP = 1e-12
"""Of a channel without any weights: its levels are zero whatever they are trained to."""


class _Quantize(torch.autograd.Function):
    """Rounds to a grid; straight-through for the values, and the step's gradient as of the rounded values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
        # Two tensors, or two numbers, of which those are faster.
        rounded = torch.clamp((values / step).round_(), low, high).mul_(step)  # type: ignore[arg-type]
        ctx.save_for_backward(values, rounded, step)
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        values, rounded, step = ctx.saved_tensors
        # Values up to half a step beyond the ends are not clipped but rounded; a little more is an error of rounding.
        inside = (rounded - values).abs_() <= 0.5001 * step.abs()
        by_values = gradient * inside
        if not ctx.needs_input_grad[1]:
            return by_values, None, None, None
        slope = (gradient * rounded).sum_to_size(step.shape) - (by_values * values).sum_to_size(step.shape)
        # The gradient scale of the paper: steps and values then learn at a similar pace.
        return by_values, slope / step / math.sqrt(values.numel() / step.numel()), None, None


class _Round(torch.autograd.Function):
    """Rounds to levels; straight-through, except for what would only go further beyond the ends."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: Tensor, high: Tensor) -> Tensor:
        levels = torch.clamp(values.round(), low, high)
        ctx.save_for_backward(values, levels)
        return levels

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        values, levels = ctx.saved_tensors
        error = levels - values
        return gradient.masked_fill((error.abs() > 0.5) & (gradient * error > 0), 0), None, None


def _quantize(values: Tensor, step: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    quantized: Tensor = _Quantize.apply(values, step, low, high)
    return quantized


class LearnedStep(torch.nn.Module):
    """The steps of a grid.

    Args:
        step: The first steps, in the shape in which they broadcast to the values; negative or positive.
    """

    first: Tensor

    def __init__(self, step: NDArray[np.float32]) -> None:
        super().__init__()
        first = torch.from_numpy(np.array(step, dtype=np.float32))
        self.register_buffer("first", torch.where(first.abs() < SMALLEST_STEP, SMALLEST_STEP, first))
        self.log_ratio = torch.nn.Parameter(torch.zeros_like(first))

    def forward(self) -> Tensor:
        """The steps as they are now."""
        return self.first * self.log_ratio.exp()


class LayerWeights(torch.nn.Module):
    """Weights of a layer, or of several that share them, that levels and steps stand for.

    Attributes:
        coding: How levels stand for whole numbers.
        step: Of each channel, or of all.
        zero_point: Level of the value zero, in the shape that broadcasts to the weights; 0 of trellis-coded weights.
        bits: Bit-width.
    """

    coding: ClassVar[Coding]
    step: LearnedStep
    zero_point: Tensor
    bits: Tensor

    def levels(self) -> Tensor:
        """Level of each weight, as float32 numbers, in the operation's own shape."""
        raise NotImplementedError

    def ends(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest weight that levels can stand for, in steps."""
        raise NotImplementedError


class QuantizedWeights(LayerWeights):
    """Weights that are rounded to levels in each pass.

    They are kept in steps, so that a step scales them all and its gradient is exact, and one learning rate moves the
    weights of all channels from level to level equally fast. They start on their levels, half a step from either
    rounding: where they start nearer to it, the first steps of a training undo what the levels were chosen for.

    Args:
        levels: 0..2^bits - 1, in the operation's own shape.
        zero_point: Level of the value zero, in the shape that broadcasts to the weights.
        scale: Step of each channel, or of all, in a shape that broadcasts to the weights.
        bits: Bit-width.
        lowest: Smallest level in use.
        highest: Largest one.
    """

    coding = "uniform"

    def __init__(
        self,
        levels: NDArray[np.uint8],
        zero_point: NDArray[np.uint8],
        scale: NDArray[np.float32],
        bits: int,
        lowest: int,
        highest: int,
    ) -> None:
        super().__init__()
        self.lowest, self.highest = lowest, highest
        self.step = LearnedStep(scale)
        # A model of other bit-widths has other weights in the same shapes: a checkpoint of it must not fit.
        self.register_buffer("bits", torch.tensor(bits, dtype=torch.uint8))
        self.register_buffer("zero_point", torch.from_numpy(np.array(zero_point, dtype=np.float32)))
        self.scaled = torch.nn.Parameter(torch.from_numpy(levels.astype(np.float32)) - self.zero_point)
        self.register_load_state_dict_pre_hook(_check_bits)  # type: ignore[no-untyped-call]

    def set_levels(
        self,
        levels: NDArray[np.float64],
        zero_point: NDArray[np.float64],
        step: NDArray[np.float64],
        lowest: int,
        highest: int,
    ) -> None:
        """Takes over weights of the same bit-width that were trained elsewhere.

        Args:
            levels: As in the constructor.
            zero_point: As in the constructor.
            step: As `scale` in the constructor.
            lowest: As in the constructor.
            highest: As in the constructor.
        """
        self.lowest, self.highest = lowest, highest
        self.step = LearnedStep(np.array(step, dtype=np.float32))
        self.zero_point = torch.from_numpy(np.array(zero_point, dtype=np.float32))
        self.scaled.data = torch.from_numpy(np.array(levels - zero_point, dtype=np.float32))

    def forward(self) -> Tensor:
        """The weights that the levels stand for, in the operation's own shape."""
        levels: Tensor = _Round.apply(self.scaled, *self.ends())
        step: Tensor = self.step()
        return levels * step

    def levels(self) -> Tensor:
        """Level of each weight, as float32 numbers, in the operation's own shape."""
        return torch.clamp(self.scaled.detach().round() + self.zero_point, self.lowest, self.highest)

    def ends(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest weight that levels can stand for, in steps."""
        return self.lowest - self.zero_point, self.highest - self.zero_point


class CodedWeights(LayerWeights):
    """Trellis-coded weights: their levels stay, only the steps are trained.

    Args:
        levels: 0..2^bits - 1, in the operation's own shape.
        integers: What they stand for, in the same shape.
        scale: Step of each channel, or of all, in a shape that broadcasts to the weights.
        bits: Bit-width.
    """

    coding = "trellis"
    coded: Tensor
    integers: Tensor

    def __init__(
        self, levels: NDArray[np.integer], integers: NDArray[np.integer], scale: NDArray[np.float32], bits: int
    ) -> None:
        super().__init__()
        self.step = LearnedStep(scale)
        self.register_buffer("bits", torch.tensor(bits, dtype=torch.uint8))
        self.register_buffer("coded", torch.from_numpy(levels.astype(np.uint8)))
        self.register_buffer("integers", torch.from_numpy(integers.astype(np.int8)), persistent=False)
        self.register_buffer("zero_point", torch.zeros_like(self.step.first), persistent=False)
        self.register_load_state_dict_pre_hook(_check_bits)  # type: ignore[no-untyped-call]

    def forward(self) -> Tensor:
        """The weights that the levels stand for, in the operation's own shape."""
        step: Tensor = self.step()
        return self.integers * step

    def levels(self) -> Tensor:
        """Level of each weight, as float32 numbers, in the operation's own shape."""
        return self.coded.float()

    def ends(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest weight that levels can stand for, in steps."""
        largest = torch.tensor(float(alphabet(int(self.bits))[-1]))
        return -largest, largest


def _check_bits(
    module: LayerWeights | ActivationQuantizer,
    state: dict[str, Any],
    prefix: str,
    _: Any,
    __: bool,
    ___: Any,
    ____: Any,
    errors: list[str],
) -> None:
    found = state.get(f"{prefix}bits")
    if isinstance(found, Tensor) and int(found) != int(module.bits):
        errors.append(f"{prefix[:-1]}: found {int(found)} bits, allowed: {int(module.bits)}, as in the policy")


class FloatWeights(torch.nn.Module):
    """Weights that stay in floating point.

    Args:
        weights: In the operation's own shape.
        is_half: Whether the file stores them as f16.
    """

    def __init__(self, weights: NDArray[np.float32], is_half: bool) -> None:
        super().__init__()
        self.is_half = is_half
        self.weights = torch.nn.Parameter(torch.from_numpy(np.array(weights, dtype=np.float32)))

    def forward(self) -> Tensor:
        """The weights as they are stored."""
        if not self.is_half:
            return self.weights
        stored = self.weights.detach().half().to(self.weights.dtype)
        return self.weights + (stored - self.weights.detach())


class Bias(torch.nn.Module):
    """The constant that is added to a layer's output.

    Args:
        values: In the constant's own shape.
        port: Input port of the addition that reads it.
    """

    def __init__(self, values: NDArray[np.float32], port: int) -> None:
        super().__init__()
        self.port = port
        self.values = torch.nn.Parameter(torch.from_numpy(np.array(values, dtype=np.float32)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The sum, in the place of an Add of the graph."""
        return inputs[1 - self.port] + self.values


class ActivationQuantizer(torch.nn.Module):
    """A grid of activations whose step is learned; its zero point stays.

    Args:
        step: Of the grid, a scalar or one per channel.
        zero_point: In the shape of `step`.
        bits: Bit-width.
    """

    zero_point: Tensor
    bits: Tensor
    zero: int | None
    """The zero point of all channels, where there is one."""

    def __init__(self, step: NDArray[np.float64], zero_point: NDArray[np.int64], bits: int) -> None:
        super().__init__()
        self.highest = 2**bits - 1
        self.step = LearnedStep(np.array(step, dtype=np.float32))
        self.register_buffer("bits", torch.tensor(bits, dtype=torch.uint8))
        self.register_buffer("zero_point", torch.from_numpy(np.array(zero_point, dtype=np.float32)))
        self.register_load_state_dict_pre_hook(_check_bits)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_refresh_zero)  # type: ignore[no-untyped-call]
        _refresh_zero(self, None)

    def set_grid(self, step: NDArray[np.float32], zero_point: NDArray[np.int64]) -> None:
        """Takes over a grid of the same bit-width that was trained elsewhere.

        Args:
            step: As in the constructor.
            zero_point: As in the constructor.
        """
        self.step = LearnedStep(step)
        self.zero_point = torch.from_numpy(np.array(zero_point, dtype=np.float32))
        _refresh_zero(self, None)

    def forward(self, values: Tensor, *_: Tensor) -> Tensor:
        """The values on the grid, in the place of a FakeQuantize of the graph."""
        zero_point = self.zero_point if self.zero is None else self.zero
        return _quantize(values, self.step(), -zero_point, self.highest - zero_point)


def _refresh_zero(module: ActivationQuantizer, _: object) -> None:
    module.zero = int(module.zero_point) if module.zero_point.numel() == 1 else None
