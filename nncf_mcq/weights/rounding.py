"""Rounding weights to the levels of a grid: to the nearest, with error compensation, or improved level by level."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nncf_mcq.errors import QuantizationError
from nncf_mcq.range_init.grid import Grid

_BLOCK = 64
"""Columns updated lazily together: the rest of the matrix is touched once per block, not once per column."""

_SMALLEST_MOMENT = 1e-12
"""Inputs of less variance are constant."""


@dataclass(frozen=True)
class Compensation:
    """Inputs of error-compensated rounding for a layer, computed once and used at every bit-width.

    The damped moments, their rows and columns in the order of rounding, are `F D F'`: F is unit upper triangular, D
    diagonal. The error `e M e` of a row is then the sum of `D_k (e F)_k ^ 2`, and what is rounded before column k
    decides all of `(e F)_k` but `e_k`.

    Attributes:
        order: (groups, columns) the order in which columns are rounded.
        factor: (groups, columns, columns) F.
        diagonal: (groups, columns) D.
        damping: (groups,) what was added to the diagonal of the moments.
    """

    order: torch.Tensor
    factor: torch.Tensor
    diagonal: torch.Tensor
    damping: torch.Tensor


def prepare_compensation(moments: torch.Tensor, damping: float = 0.01) -> Compensation:
    """Factorizes a layer's input moments.

    Args:
        moments: (groups, columns, columns) second moments or covariance of the layer's input.
        damping: Added to the diagonal, relative to its mean; larger values compensate less.

    Raises:
        QuantizationError: The moments are not finite.

    Source: Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ", ICLR 2023, with columns ordered by decreasing moment. They
    factorize the inverse of the moments; the same without the inverse is the LDLQ of Chee, Cai, Kuleshov and De Sa,
    "QuIP", NeurIPS 2023.
    """
    if not bool(torch.isfinite(moments).all()):
        # No damping makes them invertible.
        raise QuantizationError("the inputs of a layer are too large: their second moments are not finite")
    diagonal = torch.diagonal(moments, dim1=1, dim2=2)
    order = diagonal.argsort(dim=1, descending=True, stable=True)
    # Back to front: the lower Cholesky factor is then the upper one of the moments in order.
    backwards = order.flip(1)
    reordered = moments.gather(1, backwards[:, :, None].expand_as(moments))
    reordered = reordered.gather(2, backwards[:, None, :].expand_as(moments)).to(torch.float64)
    # Inputs that never vary (a dead channel) have zero moments: the damping alone keeps them invertible.
    level = diagonal.mean(dim=1).clamp_min(1e-12).to(torch.float64)
    damped = reordered.diagonal(dim1=1, dim2=2)
    undamped = damped.clone()
    strength = damping
    # In place, and freed as soon as possible: these are the largest matrices of a search.
    while True:
        damped.copy_(undamped + strength * level[:, None])
        lower, failed = torch.linalg.cholesky_ex(reordered)
        # Moments that are semidefinite leave no pivot below the damping; others may just so be factorized by chance.
        pivots = lower.diagonal(dim1=1, dim2=2).square().amin(dim=1)
        if not bool((failed.bool() | (pivots < strength * level / 2)).any()):
            break
        strength *= 10
    del reordered, damped
    factor = lower.to(torch.float32).flip(1, 2)
    del lower
    root = factor.diagonal(dim1=1, dim2=2).clone()
    return Compensation(order, factor.div_(root[:, None, :]), root.square(), (strength * level).to(torch.float32))


def round_to_nearest(weights: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Nearest levels.

    Args:
        weights: (groups, rows, columns).
        grid: Scales of shape (candidates, groups, rows).

    Returns:
        (candidates, groups, rows, columns) levels.
    """
    return grid.levels(weights.expand(*grid.scale.shape, weights.shape[-1]))


def round_with_compensation(
    weights: torch.Tensor, grid: Grid, compensation: Compensation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounds column after column; each column makes good for the errors of those rounded before.

    Shapes as in `round_to_nearest`. All candidates and rows are rounded together: rows do not interact.

    Returns:
        The levels, and (candidates, groups, rows) the error `(w - q) M (w - q)` for the damped moments M.

    Source: Frantar et al., "GPTQ", ICLR 2023; for depthwise and grouped convolutions each group has its own moments.
    """
    candidates, groups, rows = grid.scale.shape
    columns = weights.shape[2]
    # (groups, columns, candidates * rows): a column of the weights is contiguous, and one batched product per group.
    order = compensation.order[:, :, None]
    ordered = weights.transpose(1, 2).gather(1, order.expand(groups, columns, rows))
    work = ordered.repeat(1, 1, candidates)
    scale, zero_point, inverse_scale = _flat(grid)
    levels = torch.empty_like(work)
    factor, diagonal = compensation.factor, compensation.diagonal
    loss = torch.zeros_like(scale)
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        residuals = torch.empty(groups, end - start, candidates * rows)
        # The float weights until a column is rounded.
        errors = ordered[:, start:end].repeat(1, 1, candidates)
        for column in range(start, end):
            value = work[:, column]
            level = torch.mul(value, inverse_scale).round_().add_(zero_point).clamp_(grid.low, grid.high)
            levels[:, column] = level
            rounded = level.sub_(zero_point).mul_(scale)
            torch.sub(value, rounded, out=residuals[:, column - start])
            error = errors[:, column - start].sub_(rounded)
            if column + 1 < end:
                work[:, column + 1 : end].baddbmm_(factor[:, column, column + 1 : end, None], error[:, None, :])
        loss += torch.einsum("gcr,gc->gr", residuals.square_(), diagonal[:, start:end])
        if end < columns:
            work[:, end:].baddbmm_(factor[:, start:end, end:].transpose(1, 2), errors)
    del work
    restored = torch.empty_like(levels).scatter_(1, order.expand_as(levels), levels)
    return _unflat(restored, candidates), loss.reshape(groups, candidates, rows).transpose(0, 1)


@dataclass(frozen=True)
class DampedMoments:
    """Moments with something added to their diagonal.

    Attributes:
        matrices: (groups, columns, columns), the sum.
        damping: (groups,) what was added.
    """

    matrices: torch.Tensor
    damping: torch.Tensor


def damp(moments: torch.Tensor, damping: float = 0.1) -> DampedMoments:
    """Moments (groups, columns, columns) with a share of their mean diagonal added to it.

    The quantized network's inputs are those of the float network plus rounding noise, which hardly correlates. Levels
    that are fitted as closely as coordinate descent fits them need to know: without damping the layer's error falls on
    the calibration images and the network's does not.
    """
    damped = moments.clone()
    diagonal = damped.diagonal(dim1=1, dim2=2)
    added = damping * diagonal.mean(dim=1)
    diagonal.add_(added[:, None])
    return DampedMoments(damped, added)


def descend(
    grid: Grid, levels: torch.Tensor, pull: torch.Tensor, moments: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Improves rounded weights: each level in turn becomes the best one, given all others of its row.

    The error `(w - q) M (w - q)` of each row never grows. Unlike AdaRound's relaxation of the same objective it needs
    no step size, no annealing and no random numbers, and levels may move by more than one.

    Args:
        grid: Scales of shape (candidates, groups, rows).
        levels: (candidates, groups, rows, columns) levels on that grid to start from.
        pull: (candidates, groups, rows, columns) error times moments, `(w - q) M`: a column of it says in which
            direction its level should go.
        moments: (groups, columns, columns) second moments or covariance M of the layer's input.

    Returns:
        The levels, and the pull that they have.

    Source: Behdin et al., "QuantEase: Optimization-based Quantization for Language Models", 2023; the objective is that
    of Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (AdaRound), ICML 2020.
    """
    candidates, groups, rows = grid.scale.shape
    columns = levels.shape[3]
    scale, _, inverse_scale = _flat(grid)
    work, pull = (values.permute(1, 3, 0, 2).reshape(groups, columns, -1).clone() for values in (levels, pull))
    diagonal = torch.diagonal(moments, dim1=1, dim2=2)
    # An input that never varies says nothing: its level stays.
    weight = torch.where(diagonal > _SMALLEST_MOMENT, 1 / diagonal.clamp_min(_SMALLEST_MOMENT), 0.0)
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        local = pull[:, start:end].clone()
        steps = torch.empty(groups, end - start, candidates * rows)
        for column in range(start, end):
            old = work[:, column]
            wanted = (local[:, column - start] * weight[:, column, None]).mul_(inverse_scale).add_(old)
            new = wanted.round_().clamp_(grid.low, grid.high)
            step = torch.sub(new, old, out=steps[:, column - start]).mul_(scale)
            work[:, column] = new
            if column + 1 < end:
                local[:, column + 1 - start :].baddbmm_(
                    moments[:, column, column + 1 : end, None], step[:, None, :], alpha=-1
                )
        pull.baddbmm_(moments[:, :, start:end], steps, alpha=-1)
    return _unflat(work, candidates), _unflat(pull, candidates)


def _flat(grid: Grid) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scale, zero point and inverse scale (groups, candidates * rows)."""
    scale, zero_point = (values.transpose(0, 1).flatten(1) for values in (grid.scale, grid.zero_point))
    return scale, zero_point, 1 / scale


def _unflat(values: torch.Tensor, candidates: int) -> torch.Tensor:
    """(groups, columns, candidates * rows) to (candidates, groups, rows, columns)."""
    groups, columns, _ = values.shape
    return values.reshape(groups, columns, candidates, -1).permute(2, 0, 3, 1).contiguous()
