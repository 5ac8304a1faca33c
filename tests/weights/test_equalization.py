"""Factors of input channels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nncf_mcq.calibration.channel_moments import ChannelMoments
from nncf_mcq.weights.equalization import (
    LARGEST_FACTOR,
    Reader,
    _relative_error,
    find_group_factors,
    find_input_factors,
)

seeds = st.integers(0, 2**32 - 1)


def make_layer(seed: int, rows: int = 6, channels: int = 5, positions: int = 1) -> tuple[np.ndarray, ChannelMoments]:
    random = np.random.default_rng(seed)
    unequal = np.exp(random.standard_normal((1, channels, 1)))
    weights = (random.standard_normal((rows, channels, positions)) * unequal).astype(np.float32)
    inputs = random.standard_normal((200, channels)) @ random.standard_normal((channels, channels))
    return weights, make_moments(inputs)


def make_moments(inputs: np.ndarray, samples: float = 1e9) -> ChannelMoments:
    values = torch.from_numpy(inputs)
    return ChannelMoments(values.mean(dim=0), torch.atleast_2d(torch.cov(values.T)), values.abs().amax(dim=0), samples)


def rounding_error(weights: np.ndarray, inputs: np.ndarray, scales: np.ndarray, bits: int) -> float:
    """Relative error of a product whose weights are rounded to a symmetric grid per row, and inputs to 8 bits."""
    scaled, divided = weights[:, :, 0] * scales, inputs / scales
    weight_step = np.abs(scaled).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    input_step = np.abs(divided).max() / 127
    found = (np.rint(divided / input_step) * input_step) @ (np.rint(scaled / weight_step) * weight_step).T
    expected = inputs @ weights[:, :, 0].T
    return float(np.square(found - expected).mean() / np.square(expected).mean())


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 4))
def test_gradient_is_that_of_the_sum(seed: int, positions: int) -> None:
    weights, moments = make_layer(seed, positions=positions)
    readers = [
        Reader(weights, moments, 4, 8),
        Reader(*make_layer(seed + 1, rows=3), 3, 8),
    ]
    at, step = np.random.default_rng(seed).standard_normal(5), 1e-5

    _, gradient = _relative_error(at, readers)

    ahead = np.array([_relative_error(at + step * unit, readers)[0] for unit in np.eye(5)])
    behind = np.array([_relative_error(at - step * unit, readers)[0] for unit in np.eye(5)])
    np.testing.assert_allclose(gradient, (ahead - behind) / (2 * step), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(2, 8), st.integers(2, 8))
def test_factors_are_worth_their_bytes(seed: int, weight_bits: int, input_bits: int) -> None:
    weights, moments = make_layer(seed, rows=24)
    reader = Reader(weights, moments, weight_bits, input_bits)

    factors = find_input_factors(reader)

    if factors is not None:
        gained = np.log(reader.error(np.zeros(5))[0] / reader.error(-np.log(factors.astype(np.float64)))[0])
        assert gained > np.log(4) * 8 / 24
        assert factors.min() >= 1
        assert factors.max() == LARGEST_FACTOR


def test_few_outputs_are_not_worth_a_byte_for_each_input() -> None:
    weights, moments = make_layer(1, rows=64)

    assert find_input_factors(Reader(weights, moments, 4, 8)) is not None
    assert find_input_factors(Reader(weights[:2], moments, 4, 8)) is None


@settings(deadline=None, max_examples=25)
@given(seeds, st.floats(1e-3, 1e3))
def test_unit_of_the_weights_does_not_matter(seed: int, factor: float) -> None:
    weights, moments = make_layer(seed, rows=64)
    expected = find_input_factors(Reader(weights, moments, 4, 8))

    found = find_input_factors(Reader(weights * np.float32(factor), moments, 4, 8))

    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        np.testing.assert_allclose(found, expected, rtol=0.05, atol=1)


def test_error_of_4_bits_falls_where_channels_are_unequal() -> None:
    random = np.random.default_rng(0)
    unequal = np.exp(random.standard_normal(32))
    weights = (random.standard_normal((64, 32, 1)) * unequal[None, :, None]).astype(np.float32)
    inputs = random.standard_normal((4000, 32))

    factors = find_input_factors(Reader(weights, make_moments(inputs), 4, 8))

    assert factors is not None
    ones = np.ones(32)
    assert rounding_error(weights, inputs, 1 / factors, 4) < 0.6 * rounding_error(weights, inputs, ones, 4)
    # At 8 bits the input's error is as large: the factors must be others.
    moderate = find_input_factors(Reader(weights, make_moments(inputs), 8, 8))
    assert moderate is None or np.log(moderate).std() < np.log(factors).std()


def error_of_others(seed: int, samples: float) -> float:
    """Error of a layer of 8 bits on other inputs, relative to that without factors.

    32 samples of channels, half of which are seldom awake, tell the factors and the range that inputs are clipped to.
    """
    random = np.random.default_rng(seed)
    asleep = np.where(np.arange(48) % 2, 2.0, -1.0)
    inputs = np.maximum(random.standard_normal((4032, 48)) - asleep, 0)
    weights = random.standard_normal((16, 48, 1)).astype(np.float32)
    known, others = inputs[:32], inputs[32:]
    found = find_group_factors([Reader(weights, make_moments(known, samples), 8, 8)])
    assert found is not None

    def error(factors: np.ndarray) -> float:
        step = (known * factors).max() / 255
        clipped = np.rint(others * factors / step).clip(0, 255) * step
        expected = others @ weights[:, :, 0].T
        return float(np.square(clipped @ (weights[:, :, 0] / factors).T - expected).mean())

    return error(found) / error(np.ones(48))


def test_what_few_samples_say_of_a_channel_is_not_taken_for_all_that_it_does() -> None:
    assert np.median([error_of_others(seed, samples=32) for seed in range(8)]) < 2
    assert np.median([error_of_others(seed, samples=1e9) for seed in range(8)]) > 5


@pytest.mark.parametrize("case", ["weights", "inputs", "channel"])
def test_nothing_to_choose_gives_none(case: str) -> None:
    weights, moments = make_layer(0, channels=1 if case == "channel" else 5)
    if case == "weights":
        weights = np.zeros_like(weights)
    if case == "inputs":
        moments = make_moments(np.zeros((10, 5)))

    reader = Reader(weights, moments, 4, 8)

    assert find_input_factors(reader) is None
    assert find_group_factors([reader]) is None


def test_layers_that_tell_nothing_are_left_to_the_others() -> None:
    silent = Reader(np.zeros((6, 5, 1), np.float32), make_layer(0)[1], 4, 8)
    telling = Reader(*make_layer(0), 4, 8)

    found = find_group_factors([silent, telling])

    np.testing.assert_array_equal(found, find_group_factors([telling]))


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 3))
def test_group_gains_by_its_factors(seed: int, count: int) -> None:
    readers = [Reader(*make_layer(seed + index, rows=24), 4, 8) for index in range(count)]

    factors = find_group_factors(readers)

    assert factors is not None and factors.max() == 1 and factors.min() > 0
    after = [reader.error(-np.log(factors))[0] / reader.unscaled_error for reader in readers]
    assert np.mean(after) < 1


def test_all_readers_of_a_group_count_alike() -> None:
    """Not more where weights are larger."""
    first, second = (make_layer(seed, rows=24) for seed in (0, 1))

    found, scaled = (
        find_group_factors([Reader(*first, 4, 8), Reader(factor * second[0], second[1], 4, 8)])
        for factor in (np.float32(1), np.float32(100))
    )

    assert found is not None and scaled is not None
    np.testing.assert_allclose(np.log(found), np.log(scaled), atol=0.01)
    for weights, moments in (first, second):
        (alone,) = (find_group_factors([Reader(weights, moments, 4, 8)]),)
        assert alone is not None and np.abs(np.log(alone) - np.log(found)).max() > 0.1


def test_input_that_errs_more_is_spared() -> None:
    weights, moments = make_layer(2, rows=24)
    inputs = moments.largest.numpy()

    errors = [
        np.std(np.log(find_group_factors([Reader(weights, moments, 4, 8, input_errors=count)]) * inputs))
        for count in (1, 1000)
    ]

    # Ranges of the scaled channels become more equal.
    assert errors[1] < errors[0]


@pytest.mark.filterwarnings("error")
def test_dead_channels_get_a_factor() -> None:
    weights, _ = make_layer(0, rows=200)
    weights[:, 1] = 0
    inputs = np.random.default_rng(0).standard_normal((50, 5))
    inputs[:, 2] = 0

    factors = find_input_factors(Reader(weights, make_moments(inputs), 4, 8))

    assert factors is not None and (factors >= 1).all()
