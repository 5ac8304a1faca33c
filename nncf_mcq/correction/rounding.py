"""Rounding weights to the levels of a grid: to the nearest one, or with error compensation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nncf_mcq.grid import Grid

_BLOCK = 64
"""Columns updated lazily together: the rest of the matrix is touched once per block, not once per column."""


@dataclass(frozen=True)
class Compensation:
    """What error-compensated rounding needs of a layer, computed once and used at every width.

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
    columns = moments.shape[1]
    diagonal = torch.diagonal(moments, dim1=1, dim2=2)
    order = diagonal.argsort(dim=1, descending=True, stable=True)
    reordered = moments.gather(1, order[:, :, None].expand_as(moments))
    reordered = reordered.gather(2, order[:, None, :].expand_as(moments)).to(torch.float64)
    # Inputs that never vary (a dead channel) have zero moments: the damping alone keeps them invertible.
    level = diagonal.mean(dim=1).clamp_min(1e-12).to(torch.float64)
    identity = torch.eye(columns, dtype=torch.float64)
    strength = damping
    while True:
        lower, failed = torch.linalg.cholesky_ex(reordered + strength * level[:, None, None] * identity)
        if not bool(failed.any()):
            break
        strength *= 10
    inverse = torch.cholesky_inverse(lower)
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
