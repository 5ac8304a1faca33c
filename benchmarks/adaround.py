"""AdaRound as a published reference for coordinate_descent, on the same objective.

Source: Nagel, Amjad, van Baalen, Louizos and Blankevoort, "Up or Down? Adaptive Rounding for Post-Training
Quantization", ICML 2020. As published: the rectified sigmoid with zeta 1.1 and gamma -0.1, started where it yields the
float weights; lambda 0.01; no regularizer in the first fifth, then beta annealed from 20 to 2 along a cosine; Adam.
What differs: the error is that of the layer's output over the whole covariance in each iteration, not over random
batches of images; the layer's output is scaled to unit variance, so that lambda weighs the same in every layer; 1000
iterations with learning rate 0.01 instead of 10000, as no gradient is noisy.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.model.layers import QuantizableLayer, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.range_init.grid import Grid, grid_from_range
from nncf_mcq.utils.torch_threads import TorchPool
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.moments import OutputMoments, bias_shift, energy_gain
from nncf_mcq.weights.rounding import round_to_nearest
from nncf_mcq.weights.weight_table import WeightTable

ITERATIONS = 1000
LEARNING_RATE = 1e-2
REGULARIZATION = 0.01
WARM_UP = 0.2
FIRST_BETA, LAST_BETA = 20.0, 2.0
ZETA, GAMMA = 1.1, -0.1


def adaround(weights: torch.Tensor, grid: Grid, moments: torch.Tensor, *, iterations: int = ITERATIONS) -> torch.Tensor:
    """Levels that minimize `tr((W - Q) M (W - Q)^T)`, each the one below or above its weight; all rows at once.

    Args:
        weights: (groups, rows, columns) float weights W.
        grid: Scales of shape (groups, rows).
        moments: (groups, columns, columns) covariance or second moments M of the layer's input.
        iterations: Steps of Adam.

    Returns:
        (groups, rows, columns) levels.
    """
    scale, zero_point = grid.scale[..., None], grid.zero_point[..., None]
    position = weights / scale
    below = torch.floor(position)
    share = ((position - below) - GAMMA) / (ZETA - GAMMA)
    variable = torch.logit(share.clamp(1e-6, 1 - 1e-6)).requires_grad_()
    optimizer = torch.optim.Adam([variable], lr=LEARNING_RATE)
    variance = (torch.bmm(weights, moments) * weights).sum(dim=2).mean().clamp_min(1e-20)
    warm_up = int(WARM_UP * iterations)
    for iteration in range(iterations):
        up = (torch.sigmoid(variable) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
        quantized = ((below + up + zero_point).clamp(grid.low, grid.high) - zero_point) * scale
        with torch.no_grad():
            # The gradient of the quadratic error, written down: one matrix product instead of two.
            gradient = torch.bmm(quantized - weights, moments).mul_(2 / variance)
        loss = (quantized * gradient).sum()
        if iteration >= warm_up:
            progress = (iteration - warm_up) / max(1, iterations - warm_up)
            beta = LAST_BETA + (FIRST_BETA - LAST_BETA) * (1 + math.cos(math.pi * progress)) / 2
            loss = loss + REGULARIZATION * (1 - (2 * up - 1).abs().pow(beta)).sum()
        (variable.grad,) = torch.autograd.grad(loss, [variable])
        optimizer.step()
    levels: torch.Tensor = (below + (variable.detach() >= 0) + zero_point).clamp(grid.low, grid.high)
    return levels


def adaround_table(calibrated: CalibratedModel, table: WeightTable, *, iterations: int = ITERATIONS) -> WeightTable:
    """A table whose levels are AdaRound's, on the ranges of another table; gain and bias are corrected as there.

    Args:
        calibrated: The model, its statistics and how its weights are quantized.
        table: Holds each layer at one width.
        iterations: Steps of Adam.
    """
    quantizable = calibrated.quantizable
    operations = operations_by_name(quantizable.model)

    def build(members: tuple[QuantizableLayer, ...]) -> dict[str, QuantizedWeight]:
        first = members[0]
        (entry,) = table.entries[first.name].values()
        weights = torch.from_numpy(weight_matrices(first, operations[first.name]))
        found, values = _round_again(
            first, entry, weights, calibrated.statistics.layers[first.name], calibrated.scheme.weights, iterations
        )
        shifts = {
            member.name: bias_shift(weights, values, calibrated.statistics.layers[member.name]) for member in members
        }
        return {name: dataclasses.replace(found, bias_shift=shift.numpy()) for name, shift in shifts.items()}

    with TorchPool(calibrated.threads) as pool:
        groups = sorted(quantizable.groups.values(), key=lambda members: -members[0].weights * members[0].columns)
        entries = {name: entry for built in pool.map(build, groups) for name, entry in built.items()}
    return table.with_entries(entries)


def _round_again(
    layer: QuantizableLayer,
    entry: QuantizedWeight,
    weights: torch.Tensor,
    statistics: LayerStatistics,
    config: WeightsConfig,
    iterations: int,
) -> tuple[QuantizedWeight, torch.Tensor]:
    ends = [torch.from_numpy(end.reshape(layer.groups, layer.rows)) for end in (entry.clip.low, entry.clip.high)]
    grid = grid_from_range(ends[0], ends[1], entry.bits, config.mode)
    stacked = Grid(grid.scale[None], grid.zero_point[None], grid.low, grid.high)
    if statistics.covariance is None:
        levels = round_to_nearest(weights, stacked)
    else:
        levels = adaround(weights, grid, statistics.covariance, iterations=iterations)[None]
    moments = OutputMoments.measure(weights, stacked.values(levels), statistics)
    gain = energy_gain(moments, moments.variance, config.per_channel)
    stacked = dataclasses.replace(stacked, scale=stacked.scale * gain)
    found = dataclasses.replace(
        entry,
        levels=levels[0].to(torch.uint8).numpy(),
        zero_point=stacked.zero_point[0].to(torch.uint8).numpy(),
        scale=stacked.scale[0].numpy(),
        relative_error=float(moments.scaled(gain).error.sum()) / max(float(moments.variance.sum()), 1e-20),
    )
    return found, stacked.values(levels)[0]
