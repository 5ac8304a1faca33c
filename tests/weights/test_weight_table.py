from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nncf_mcq.calibration.statistics import LayerStatistics, collect_statistics
from nncf_mcq.config.schema import CompressionConfig, load_config
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, find_layers
from nncf_mcq.model.nodes import constant_value, operations_by_name
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.weights.layer_quantizer import LayerQuantizer
from nncf_mcq.weights.moments import output_error, output_variance
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.weight_table import WeightTable, build_weight_table
from tests.models import random_images, shared_weights_model, small_calibrated_model

BITS = (2, 3, 4, 5, 6, 7, 8)


def compression(weights: dict[str, Any] | None = None, correction: dict[str, Any] | None = None) -> CompressionConfig:
    return load_config({"compression": {"weights": weights or {}, "correction": correction or {}}}).compression


def build(config: CompressionConfig, bits: tuple[int, ...] = BITS, rule: str = "mixed_clipping") -> WeightTable:
    calibrated, _ = small_calibrated_model()
    return build_weight_table(calibrated.quantizable, calibrated.statistics.layers, scheme(config, rule), bits)


def scheme(config: CompressionConfig, rule: str) -> WeightScheme:
    initializer = RANGE_INITIALIZERS.create(RANGE_INITIALIZERS[rule].Parameters(type=rule))
    return WeightScheme(config.weights, config.correction, initializer)


def float_matrices(quantizable: QuantizableModel, layer: QuantizableLayer) -> np.ndarray:
    weights = constant_value(operations_by_name(quantizable.model)[layer.name], layer.weight_port)
    return np.asarray(layer.to_matrices(weights))


def layers_and_statistics() -> list[tuple[QuantizableLayer, np.ndarray, LayerStatistics]]:
    calibrated, _ = small_calibrated_model()
    quantizable = calibrated.quantizable
    return [
        (layer, float_matrices(quantizable, layer), calibrated.statistics.layers[layer.name])
        for layer in quantizable.layers
    ]


@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_every_layer_and_width_has_levels_of_its_width(mode: str, per_channel: bool) -> None:
    table = build(compression({"mode": mode, "per_channel": per_channel}))
    assert table.bits == BITS
    assert list(table.entries) == [layer.name for layer, _, _ in layers_and_statistics()]
    for layer, weights, _ in layers_and_statistics():
        for bits in BITS:
            entry = table[layer.name, bits]
            assert entry.bits == bits
            assert entry.levels.shape == weights.shape
            assert (entry.levels.dtype, entry.zero_point.dtype) == (np.uint8, np.uint8)
            assert entry.scale.dtype == entry.bias_shift.dtype == entry.values.dtype == np.float32
            for values in (entry.zero_point, entry.scale, entry.bias_shift):
                assert values.shape == (layer.groups, layer.rows)
            assert entry.levels.max() <= 2**bits - 1
            if mode == "symmetric" or bits == 8:
                assert entry.levels.min() >= 1
                assert (entry.zero_point == 2 ** (bits - 1)).all()
            if not per_channel:
                assert np.unique(entry.scale).size == np.unique(entry.zero_point).size == 1


def test_values_are_what_the_levels_stand_for() -> None:
    _, table = small_calibrated_model()
    for entries in table.entries.values():
        for entry in entries.values():
            expected = (entry.levels.astype(int) - entry.zero_point.astype(int)[..., None]) * entry.scale[..., None]
            np.testing.assert_allclose(entry.values, expected, rtol=1e-6)


def test_eight_bits_are_close_to_the_weights() -> None:
    _, table = small_calibrated_model()
    for layer, weights, _ in layers_and_statistics():
        np.testing.assert_allclose(table[layer.name, 8].values, weights, atol=0.02 * np.abs(weights).max())


@pytest.mark.parametrize("coding", ["uniform", "trellis"])
def test_the_relative_error_is_that_of_the_values_and_falls_with_the_bits(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nncf_mcq.weights.trellis._FEWEST_WEIGHTS", 1)
    table = build(compression({"coding": coding}))
    for layer, weights, statistics in layers_and_statistics():
        floats = torch.from_numpy(weights)
        total = output_error(torch.zeros_like(floats), floats[None], statistics).sum()
        for bits in BITS:
            error = output_error(floats, torch.from_numpy(table[layer.name, bits].values)[None], statistics).sum()
            assert table[layer.name, bits].relative_error == pytest.approx(float(error / total), rel=1e-2, abs=1e-6)
        assert table.errors(layer.name) == {bits: table[layer.name, bits].relative_error for bits in BITS}
    average = [np.mean([table.errors(layer.name)[bits] for layer, _, _ in layers_and_statistics()]) for bits in BITS]
    assert average == sorted(average, reverse=True)
    assert average[0] > 10 * average[-1]


def test_large_layers_are_coded_one_width_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncf_mcq.weights.trellis._FEWEST_WEIGHTS", 1)
    together = build(compression({"coding": "trellis"}))
    monkeypatch.setattr("nncf_mcq.weights.layer_quantizer._CODED_TOGETHER", 1)
    alone = build(compression({"coding": "trellis"}))
    for layer, _, _ in layers_and_statistics():
        for bits in BITS:
            entry, other = together[layer.name, bits], alone[layer.name, bits]
            assert entry.coding == other.coding
            assert entry.relative_error == pytest.approx(other.relative_error, rel=0.05)


@pytest.mark.parametrize("per_channel", [True, False])
def test_trellis_coded_weights_are_kept_where_they_have_less_error(
    per_channel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The layers of the small model are too small to be worth it.
    monkeypatch.setattr("nncf_mcq.weights.trellis._FEWEST_WEIGHTS", 1)
    uniform = build(compression({"per_channel": per_channel, "coding": "uniform"}))
    table = build(compression({"per_channel": per_channel, "coding": "trellis"}))
    shares = []
    for layer, _, _ in layers_and_statistics():
        for bits in BITS:
            entry, other = table[layer.name, bits], uniform[layer.name, bits]
            if entry.coding == "uniform":
                np.testing.assert_array_equal(entry.levels, other.levels)
                continue
            shares.append(entry.relative_error / other.relative_error)
            assert bits <= 5
            assert layer.groups == 1
            assert (entry.levels.max() < 2**bits, entry.zero_point.max()) == (True, 0)
            assert (np.abs(entry.integers).max() <= 63, np.unique(entry.scale).size == 1) == (True, not per_channel)
            assert (entry.rule, entry.rule_counts) == ("trellis", {"trellis": layer.rows})
    assert len(shares) > 4
    assert max(shares) < 1
    assert np.mean(shares) < 0.85


def test_the_bias_shift_keeps_the_mean_of_the_output() -> None:
    _, table = small_calibrated_model()
    for layer, weights, statistics in layers_and_statistics():
        entry = table[layer.name, 2]
        expected = np.einsum("grc,gc->gr", weights - entry.values, statistics.mean.numpy())
        np.testing.assert_allclose(entry.bias_shift, expected, atol=1e-4)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_clip_table_broadcasts_to_the_weights(per_channel: bool) -> None:
    table = build(compression({"per_channel": per_channel}), (3, 5))
    layers = [layer for layer, _, _ in layers_and_statistics()]
    weight_bits = {layer.name: bits for layer, bits in zip(layers, (3, 5, 3, 5), strict=True)}
    clips = table.clip_table(weight_bits)
    assert set(clips) == set(weight_bits)
    for layer in layers:
        clip = clips[layer.name]
        assert clip is table[layer.name, weight_bits[layer.name]].clip
        for values in (clip.low, clip.high):
            assert np.broadcast_shapes(values.shape, layer.weight_shape) == layer.weight_shape
            assert values.size == layer.output_channels
        assert (clip.low <= 0).all()
        assert (clip.high >= 0).all()
        assert (clip.low < clip.high).all()


def test_without_gain_the_values_lie_within_the_clip_range() -> None:
    table = build(compression(correction={"gain": "none"}), (3,))
    for layer, _, _ in layers_and_statistics():
        entry = table[layer.name, 3]
        values = layer.from_matrices(entry.values)
        span = entry.clip.high - entry.clip.low
        assert (values >= entry.clip.low - 1e-5 * span).all()
        assert (values <= entry.clip.high + 1e-5 * span).all()


def test_bias_correction_can_be_switched_off() -> None:
    table = build(compression(correction={"bias": False}), (2, 4))
    assert not any(entry.bias_shift.any() for entries in table.entries.values() for entry in entries.values())


def with_gain(gain: str, rounding: str = "error_compensated") -> WeightTable:
    return build(compression(correction={"gain": gain, "rounding": rounding}), (3,), rule="mse")


def test_the_regression_gain_lowers_the_error_and_changes_no_level() -> None:
    regression, without = with_gain("regression"), with_gain("none")
    for layer, _, _ in layers_and_statistics():
        ours, theirs = regression[layer.name, 3], without[layer.name, 3]
        np.testing.assert_array_equal(ours.levels, theirs.levels)
        assert (ours.scale != theirs.scale).any()
        assert ours.relative_error < theirs.relative_error


def test_the_energy_gain_keeps_the_variance_of_every_output_channel() -> None:
    regression, energy = with_gain("regression"), with_gain("energy")
    for layer, weights, statistics in layers_and_statistics():
        expected = output_variance(torch.from_numpy(weights), statistics)
        lost = output_variance(torch.from_numpy(regression[layer.name, 3].values), statistics)
        kept = output_variance(torch.from_numpy(energy[layer.name, 3].values), statistics)
        assert (lost < expected * (1 + 1e-4)).all()
        torch.testing.assert_close(kept, expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(energy[layer.name, 3].levels, regression[layer.name, 3].levels)


def test_rounding_to_nearest_can_be_chosen_and_leaves_more_error() -> None:
    nearest, compensated = (
        build(compression(correction={"rounding": rounding, "gain": "none"}), (4,), rule="max")
        for rounding in ("nearest", "error_compensated")
    )
    errors = []
    for layer, weights, _ in layers_and_statistics():
        entry = nearest[layer.name, 4]
        levels = np.round(weights / entry.scale[..., None]) + entry.zero_point[..., None]
        np.testing.assert_array_equal(entry.levels, np.clip(levels, 0, 15))
        errors.append((entry.relative_error, compensated[layer.name, 4].relative_error))
    of_nearest, of_compensated = np.sum(errors, axis=0)
    assert of_compensated < of_nearest


def test_the_rule_of_a_layer_is_counted_and_compared() -> None:
    _, table = small_calibrated_model()
    rules = {"max", "percentile", "mse", "output_mse"}
    for layer, _, _ in layers_and_statistics():
        entry = table[layer.name, 2]
        assert set(entry.rule_counts) == set(entry.rule_errors) == rules
        assert sum(entry.rule_counts.values()) == layer.output_channels
        assert entry.rule_counts[entry.rule] == max(entry.rule_counts.values())
        # Each channel took its best rule, so no rule alone does better.
        assert entry.choice_error <= min(entry.rule_errors.values()) * 1.001 + 1e-9
    single = build(compression(), (2,), rule="max")
    for layer, _, _ in layers_and_statistics():
        assert (single[layer.name, 2].rule, single[layer.name, 2].rule_errors) == ("max", {})


def test_rows_that_share_a_range_are_compared_by_their_own_outputs() -> None:
    """One row has most of the energy: the rule of least summed error serves it alone."""
    calibrated, _ = small_calibrated_model()
    layer = max(calibrated.quantizable.layers, key=lambda item: item.columns)
    statistics = calibrated.statistics.layers[layer.name]
    weights = torch.randn(layer.groups, layer.rows, layer.columns, generator=torch.Generator().manual_seed(1))
    weights[0, 0] *= 12
    per_tensor = scheme(compression({"per_channel": False}), "mixed_clipping")
    quantizer = LayerQuantizer(layer, weights, statistics, per_tensor)

    entry = quantizer.quantize(4)

    assert set(entry.rule_errors) == {"max", "percentile", "mse", "output_mse", "kl", "aciq"}
    assert entry.rule != min(entry.rule_errors, key=entry.rule_errors.__getitem__)


def test_layers_that_share_a_constant_have_the_same_levels_and_their_own_bias_shifts() -> None:
    quantizable = find_layers(shared_weights_model())
    images = random_images(3, (1, 4, 6, 6)) + 1
    statistics = collect_statistics(quantizable, (image[None] for image in images), threads=1).layers
    steps = []
    table = build_weight_table(
        quantizable, statistics, scheme(compression(), "max"), (3,), progress=lambda: steps.append(1)
    )
    first, second = table["first", 3], table["second", 3]
    np.testing.assert_array_equal(first.levels, second.levels)
    np.testing.assert_array_equal(first.scale, second.scale)
    weights = float_matrices(quantizable, quantizable.layer("first"))
    for name, entry in (("first", first), ("second", second)):
        expected = np.einsum("grc,gc->gr", weights - entry.values, statistics[name].mean.numpy())
        np.testing.assert_allclose(entry.bias_shift, expected, rtol=1e-3, atol=1e-3)
    assert not np.allclose(first.bias_shift, second.bias_shift, atol=1e-2)
    assert len(steps) == len(quantizable.layers)


def test_the_number_of_threads_does_not_matter() -> None:
    calibrated, table = small_calibrated_model()
    again = build_weight_table(
        calibrated.quantizable, calibrated.statistics.layers, calibrated.scheme, table.bits, threads=2
    )
    assert list(again.entries) == list(table.entries)
    for name, entries in table.entries.items():
        for bits, entry in entries.items():
            np.testing.assert_array_equal(again[name, bits].levels, entry.levels)
            np.testing.assert_array_equal(again[name, bits].scale, entry.scale)


@pytest.mark.parametrize("gain", ["none", "regression"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_coordinate_descent_lowers_the_error(per_channel: bool, gain: str) -> None:
    tables = [
        build(compression({"per_channel": per_channel}, {"gain": gain, **correction}), (2, 3), rule="max")
        for correction in (
            {"rounding": "error_compensated"},
            {"rounding": "coordinate_descent", "sweeps": 1},
            {"rounding": "coordinate_descent", "sweeps": 4},
        )
    ]
    errors = np.array(
        [[table[name, bits].relative_error for table in tables] for name in tables[0].entries for bits in (2, 3)]
    )
    # What falls is the error with damped moments: the error itself may rise by a little.
    assert (errors[:, 1:] <= errors[:, :1] * 1.01).all()
    assert (errors[:, 1:].sum(axis=0) < errors[:, 0].sum() * 0.9995).all()
    assert errors[:, 2].sum() < errors[:, 0].sum() * 0.995
