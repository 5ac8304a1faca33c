from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq.config.output_files import Histograms, LayerHistogram
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.range_init.grid import QuantizationMode, grid_from_range
from nncf_mcq.weights.histograms import BINS, REACH, weight_histogram
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.level_range import LevelRange


def histogram_of(weights: torch.Tensor, share: float, bits: int, mode: QuantizationMode) -> LayerHistogram:
    """Of weights that are clipped to a share of each channel's own extremes."""
    grid = grid_from_range(weights.amin(2) * share, weights.amax(2) * share, bits, mode)
    shape = (*weights.shape[:2], 1)
    clip = ValueRange(grid.range_low.numpy().reshape(shape), grid.range_high.numpy().reshape(shape))
    levels, zeros = grid.levels(weights).to(torch.uint8).numpy(), np.zeros(shape[:2], dtype=np.float32)
    entry = QuantizedWeight(
        bits, levels, grid.zero_point.to(torch.uint8).numpy(), grid.scale.numpy(), zeros, 0.0, "max", {}, {}, 0.0, clip
    )
    return weight_histogram(weights, entry, LevelRange(bits, mode, 0, grid.low, grid.high))


@given(st.integers(2, 8), st.sampled_from(["symmetric", "asymmetric"]), st.integers(0, 99))
def test_every_weight_is_counted_and_none_is_clipped_by_its_own_extremes(
    bits: int, mode: QuantizationMode, seed: int
) -> None:
    weights = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 3, 40)).astype(np.float32))
    found = histogram_of(weights, 1.0, bits, mode)
    assert sum(found.float_counts) == sum(found.level_counts) == weights.numel()
    assert len(found.float_counts) == BINS
    assert len(found.level_counts) == (2**bits - 1 if mode == "symmetric" or bits == 8 else 2**bits)
    assert found.clipped == 0.0
    assert found.largest == pytest.approx(float(weights.abs().max()))


def test_levels_stand_where_the_weights_of_all_channels_were() -> None:
    generator = np.random.default_rng(0)
    # Channels of very different scales: in units of their own ranges they are alike.
    weights = generator.uniform(-1, 1, (1, 4, 5000)).astype(np.float32) * np.array([[[0.01], [0.1], [1], [100]]])
    found = histogram_of(torch.from_numpy(weights.astype(np.float32)), 0.5, 4, "symmetric")
    inside = np.array(found.level_counts[1:-1])
    assert inside.std() / inside.mean() < 0.1
    # Half of the range holds half of the weights; the last half step on either side still rounds to the end.
    assert found.clipped == pytest.approx(0.5 - 0.5 / 14, abs=0.02)
    assert found.level_counts[0] == pytest.approx(weights.size * (0.25 + 0.5 / 28), rel=0.05)
    assert found.thresholds == pytest.approx((0.005, 0.05, 50), rel=0.02)
    middle = np.array(found.float_counts)
    assert middle.std() / middle.mean() < 0.2


def test_coded_weights_are_counted_on_whole_numbers() -> None:
    random = np.random.default_rng(0)
    levels, ones = random.integers(0, 8, (1, 40, 9)).astype(np.uint8), np.ones((1, 40), dtype=np.float32)
    clip = ValueRange(np.full((1, 40, 1), -63, np.float32), np.full((1, 40, 1), 63, np.float32))
    entry = QuantizedWeight(
        3, levels, np.zeros((1, 40), np.uint8), ones, 0 * ones, 0.0, "trellis", {}, {}, 0.0, clip, "trellis"
    )
    weights = torch.from_numpy(entry.values)
    found = weight_histogram(weights, entry, LevelRange(3, "symmetric", 0, 0, 7))
    counts = {number: count for number, count in zip(range(-63, 64), found.level_counts, strict=True) if count}
    assert sum(counts.values()) == weights.numel()
    assert set(counts) <= {sign * value for value in (3, 7, 12, 17, 24, 32, 44, 63) for sign in (-1, 1)}
    assert counts[63] == int((weights == 63).sum())
    assert found.clipped == 0.0


def test_the_document_has_a_line_for_each_layer() -> None:
    found = histogram_of(torch.ones(1, 1, 3), 1.0, 4, "asymmetric")
    text = Histograms(reach=REACH, layers={"first": found, "second": found}).to_json()
    assert len(text.splitlines()) == 7
    assert json.loads(text)["layers"]["second"]["level_counts"][-1] == 3
