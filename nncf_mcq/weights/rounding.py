"""Rounding weights to the levels of a grid: to the nearest, with error compensation, or improved level by level."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nncf_mcq.range_init.grid import Grid

_BLOCK = 64
"""Columns updated lazily together: the rest of the matrix is touched once per block, not once per column."""

_SMALLEST_MOMENT = 1e-12
"""Inputs of less variance are constant."""


@dataclass(frozen=True)
class Compensation:
    """Inputs of error-compensated rounding for a layer, computed once and used at every bit-width.

    Attributes:
        order: (groups, columns) the order in which columns are rounded.
        factor: (groups, columns, columns) upper Cholesky factor of the inverse of the damped, reordered moments.
    """

    order: torch.Tensor
    factor: torch.Tensor


def prepare_compensation(moments: torch.Tensor, damping: float = 0.01) -> Compensation:
    """Factorizes a layer's input moments.

    Args:
        moments: (groups, columns, columns) second moments or covariance of the layer's input.
        damping: Added to the diagonal, relative to its mean; larger values compensate less.

    Source: Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ", ICLR 2023, with columns ordered by decreasing moment.
    """
    diagonal = torch.diagonal(moments, dim1=1, dim2=2)
    order = diagonal.argsort(dim=1, descending=True, stable=True)
    reordered = moments.gather(1, order[:, :, None].expand_as(moments))
    reordered = reordered.gather(2, order[:, None, :].expand_as(moments)).to(torch.float64)
    # Inputs that never vary (a dead channel) have zero moments: the damping alone keeps them invertible.
    level = diagonal.mean(dim=1).clamp_min(1e-12).to(torch.float64)
    damped = reordered.diagonal(dim1=1, dim2=2)
    undamped = damped.clone()
    strength = damping
    # In place, and freed as soon as possible: these are the largest matrices of a search.
    while True:
        damped.copy_(undamped + strength * level[:, None])
        lower, failed = torch.linalg.cholesky_ex(reordered)
        if not bool(failed.any()):
            break
        strength *= 10
    del reordered, damped
    inverse = torch.cholesky_inverse(lower)
    del lower
    factor = torch.linalg.cholesky(inverse, upper=True)
    return Compensation(order, factor.to(torch.float32))


def round_to_nearest(weights: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Nearest levels.

    Args:
        weights: (groups, rows, columns).
        grid: Scales of shape (candidates, groups, rows).

    Returns:
        (candidates, groups, rows, columns) levels.
    """
    return grid.levels(weights.expand(*grid.scale.shape, weights.shape[-1]))


def round_with_compensation(weights: torch.Tensor, grid: Grid, compensation: Compensation) -> torch.Tensor:
    """Rounds column after column; each column's error is carried on to those not yet rounded.

    Shapes as in `round_to_nearest`. All candidates and rows are rounded together: rows do not interact.

    Source: Frantar et al., "GPTQ", ICLR 2023; for depthwise and grouped convolutions each group has its own moments.
    """
    candidates, groups, rows = grid.scale.shape
    columns = weights.shape[2]
    # (groups, candidates * rows, columns): one batched matrix product per group.
    order = compensation.order[:, None, :]
    work = weights.gather(2, order.expand_as(weights)).repeat(1, candidates, 1)
    scale = grid.scale.permute(1, 0, 2).reshape(groups, candidates * rows)
    zero_point = grid.zero_point.permute(1, 0, 2).reshape(groups, candidates * rows)
    inverse_scale = 1 / scale
    levels = torch.empty_like(work)
    factor = compensation.factor
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        errors = torch.empty(groups, candidates * rows, end - start)
        for column in range(start, end):
            value = work[:, :, column]
            level = torch.round(value * inverse_scale).add_(zero_point).clamp_(grid.low, grid.high)
            levels[:, :, column] = level
            error = (value - (level - zero_point) * scale) / factor[:, column, column, None]
            errors[:, :, column - start] = error
            if column + 1 < end:
                work[:, :, column + 1 : end].baddbmm_(
                    error[:, :, None], factor[:, column, None, column + 1 : end], alpha=-1
                )
        if end < columns:
            work[:, :, end:].baddbmm_(errors, factor[:, start:end, end:], alpha=-1)
    restored = torch.empty_like(levels).scatter_(2, order.expand_as(levels), levels)
    return restored.reshape(groups, candidates, rows, columns).permute(1, 0, 2, 3)


def damp(moments: torch.Tensor, damping: float = 0.1) -> torch.Tensor:
    """Moments (groups, columns, columns) with a share of their mean diagonal added to it.

    The quantized network's inputs are those of the float network plus rounding noise, which hardly correlates. Levels
    that are fitted as closely as coordinate descent fits them need to know: without damping the layer's error falls on
    the calibration images and the network's does not.
    """
    damped = moments.clone()
    diagonal = damped.diagonal(dim1=1, dim2=2)
    diagonal.add_(damping * diagonal.mean(dim=1, keepdim=True))
    return damped


def descend(
    weights: torch.Tensor, grid: Grid, levels: torch.Tensor, moments: torch.Tensor, sweeps: int = 1
) -> torch.Tensor:
    """Improves rounded weights: each level in turn becomes the best one, given all others of its row.

    The error `(w - q) M (w - q)` of each row never grows. Unlike AdaRound's relaxation of the same objective it needs
    no step size, no annealing and no random numbers, and levels may move by more than one.

    Args:
        weights: (groups, rows, columns).
        grid: Scales of shape (candidates, groups, rows).
        levels: (candidates, groups, rows, columns) levels on that grid to start from.
        moments: (groups, columns, columns) second moments or covariance M of the layer's input.
        sweeps: Times that every level is looked at.

    Returns:
        (candidates, groups, rows, columns) levels.

    Source: Behdin et al., "QuantEase: Optimization-based Quantization for Language Models", 2023; the objective is that
    of Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (AdaRound), ICML 2020.
    """
    candidates, groups, rows = grid.scale.shape
    columns = weights.shape[2]
    scale = grid.scale.permute(1, 0, 2).reshape(groups, candidates * rows)
    zero_point = grid.zero_point.permute(1, 0, 2).reshape(groups, candidates * rows)
    work = levels.permute(1, 0, 2, 3).reshape(groups, candidates * rows, columns).clone()
    error = weights.repeat(1, candidates, 1).sub_((work - zero_point[..., None]) * scale[..., None])
    # Kept up to date: error times moments, of which a column says in which direction its level should go.
    pull = torch.bmm(error, moments)
    diagonal = torch.diagonal(moments, dim1=1, dim2=2)
    # An input that never varies says nothing: its level stays.
    weight = torch.where(diagonal > _SMALLEST_MOMENT, 1 / diagonal.clamp_min(_SMALLEST_MOMENT), 0.0)
    inverse_scale = 1 / scale
    for start in (start for _ in range(sweeps) for start in range(0, columns, _BLOCK)):
        end = min(start + _BLOCK, columns)
        local = pull[:, :, start:end].clone()
        steps = torch.empty(groups, candidates * rows, end - start)
        for column in range(start, end):
            old = work[:, :, column]
            wanted = old + local[:, :, column - start] * weight[:, column, None] * inverse_scale
            new = wanted.round_().clamp_(grid.low, grid.high)
            step = (new - old) * scale
            steps[:, :, column - start] = step
            work[:, :, column] = new
            local.baddbmm_(step[:, :, None], moments[:, column, None, start:end], alpha=-1)
        pull.baddbmm_(steps, moments[:, start:end, :], alpha=-1)
    return work.reshape(groups, candidates, rows, columns).permute(1, 0, 2, 3)
