"""Entropy calibration: the threshold whose quantized histogram diverges least from the weights' own."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveInt

from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeTask, SingleRule
from nncf_mcq.range_init.grid import Grid
from nncf_mcq.range_init.search import SearchParameters
from nncf_mcq.range_init.threshold import grid_from_threshold, pooled_weights

FEWEST_WEIGHTS = 32
"""A histogram of fewer weights than this says nothing about their distribution: no clipping."""

_CHUNK_ELEMENTS = 2_000_000
_BINS_PER_LEVEL = 8
_WEIGHTS_PER_BIN = 4


@RANGE_INITIALIZERS.register
class KlRange(SingleRule):
    """The range of least Kullback-Leibler divergence of the histogram of |w| that quantization would leave.

    As in TensorRT, weights beyond the threshold count as the last bin of the reference, and a level's mass is spread
    evenly over those of its bins that are not empty. A range over fewer than 32 weights, such as a row of a 3x3
    depthwise convolution, is not clipped. Source: Migacz, "8-bit Inference with TensorRT", GTC 2017.
    """

    class Parameters(SearchParameters):
        """`bins`: the most bins of a histogram. See `SearchParameters` for the others."""

        type: Literal["kl"] = "kl"
        bins: PositiveInt = Field(
            default=2048,
            description="Maximum number of bins of a histogram; ranges over few weights get one bin per four weights, "
            "but at least eight per level.",
        )

    parameters: Parameters

    def find_grid(self, task: RangeTask) -> Grid:
        """The grid up to the threshold of least divergence."""
        parameters = self.parameters
        magnitudes = pooled_weights(task).abs()
        largest = magnitudes.amax(dim=2)
        count = magnitudes.shape[2]
        if count < FEWEST_WEIGHTS:
            return grid_from_threshold(largest, task)
        levels = 2 ** (task.bits - 1)
        bins = max(min(count // _WEIGHTS_PER_BIN, parameters.bins), levels * _BINS_PER_LEVEL)
        first = max(levels, round(parameters.smallest_ratio * bins))
        # The largest first: where several are as good, nothing is clipped for nothing.
        kept = torch.linspace(bins, first, parameters.candidates).round().long()
        best = _divergences(_histograms(magnitudes, largest, bins), kept, levels).argmin(dim=0)
        return grid_from_threshold(kept[best] / bins * largest, task)


def _histograms(magnitudes: torch.Tensor, largest: torch.Tensor, bins: int) -> torch.Tensor:
    """(groups, rows, bins) number of magnitudes in equal bins from zero to each row's largest."""
    relative = magnitudes / torch.where(largest > 0, largest, 1.0)[..., None]
    indices = (relative * bins).long().clamp_(0, bins - 1)
    counts = torch.zeros(*largest.shape, bins, dtype=torch.float64)
    return counts.scatter_add_(2, indices, torch.ones((), dtype=torch.float64).expand(indices.shape))


def _divergences(histogram: torch.Tensor, kept: torch.Tensor, levels: int) -> torch.Tensor:
    """KL divergence of clipped and quantized histograms.

    Both distributions are constant on a level's bins but for the reference's own counts, so all sums over bins are
    differences of running sums: no histogram is made for a candidate.

    Args:
        histogram: (groups, rows, bins) counts.
        kept: (candidates,) number of bins below the threshold.
        levels: Number of levels that the kept bins are merged to.

    Returns:
        (candidates, groups, rows); infinite where clipped weights meet a level that stands for none.
    """
    mass = _running_sum(histogram)
    filled = _running_sum((histogram > 0).double())
    own = _running_sum(torch.xlogy(histogram, histogram))
    total = mass[..., -1:]
    found = []
    chunk = max(1, _CHUNK_ELEMENTS // (histogram[..., 0].numel() * (levels + 1)))
    for start in range(0, len(kept), chunk):
        part = kept[start : start + chunk]
        # Bins j with floor(j * levels / kept) = level, from edge to edge: (candidates, levels + 1).
        edges = (torch.arange(levels + 1) * part[:, None] + levels - 1) // levels
        clipped = total - mass[..., part]
        last = histogram[..., part - 1]
        quantized = mass[..., edges].diff(dim=-1)
        spread_over = filled[..., edges].diff(dim=-1)
        # Clipped weights fill the last bin of the reference.
        spread_over[..., -1] += ((clipped > 0) & (last == 0)).double()
        reference = quantized.clone()
        reference[..., -1] += clipped
        cross = torch.xlogy(reference, quantized / spread_over.clamp_min(1)).sum(dim=-1)
        entropy = own[..., part - 1] + torch.xlogy(last + clipped, last + clipped)
        divergence = (entropy - cross) / total + torch.log(mass[..., part] / total)
        found.append(divergence.nan_to_num(nan=torch.inf, posinf=torch.inf).movedim(-1, 0))
    return torch.cat(found)


def _running_sum(values: torch.Tensor) -> torch.Tensor:
    """Sums of the first 0, 1, 2... values of the last dimension."""
    return torch.nn.functional.pad(values.cumsum(dim=-1), (1, 0))
