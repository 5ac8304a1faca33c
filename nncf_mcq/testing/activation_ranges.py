"""Conformance of activation range initializers: the rules that clip the values between layers."""

from __future__ import annotations

import pytest
import torch

from nncf_mcq.calibration.statistics import ActivationStatistics
from nncf_mcq.policy import SUPPORTED_BITS
from nncf_mcq.range_init.activation import ActivationRangeTask
from nncf_mcq.range_init.activation.base import ACTIVATION_RANGE_INITIALIZERS
from nncf_mcq.testing.networks import quantize_small_network, small_config
from nncf_mcq.testing.registration import RegisteredTestCase, Section

LARGEST_ERROR = 0.25
"""Squared error that 8 bits may leave, relative to the squares of the values."""

_CHANNELS = 3

per_channel_and_tensor = pytest.mark.parametrize("per_channel", [True, False], ids=["per_channel", "per_tensor"])
signed_and_unsigned = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
every_symmetry = pytest.mark.parametrize("asymmetric", [True, False], ids=["asymmetric", "symmetric"])


class ActivationRangeInitializerTestCase(RegisteredTestCase):
    """Suite for a subclass of `ActivationRangeInitializer`; the fixture `section` is its JSON."""

    registry = ACTIVATION_RANGE_INITIALIZERS
    path = "compression.activations.range"

    @pytest.mark.parametrize("bits", SUPPORTED_BITS)
    @per_channel_and_tensor
    @signed_and_unsigned
    @every_symmetry
    def test_the_range_holds_zero(
        self, section: Section, bits: int, per_channel: bool, signed: bool, asymmetric: bool
    ) -> None:
        """There is one range for each channel; it starts at zero where no value is negative."""
        task = ActivationRangeTask(seen(normal_values(per_channel, signed)), bits, per_channel, asymmetric)
        low, high = self.create(section).find_range(task)
        check_range(low, high, task)
        assert bool((high > 0).all())

    @pytest.mark.parametrize("name", ["all zero", "constant", "negative", "a zero channel", "huge", "tiny"])
    @per_channel_and_tensor
    @every_symmetry
    def test_degenerate_values_have_a_finite_range(
        self, section: Section, name: str, per_channel: bool, asymmetric: bool
    ) -> None:
        """Zeros, constants, one sign, and values near the ends of float32."""
        values = degenerate_values(per_channel)[name]
        for bits in (2, 4, 8):
            task = ActivationRangeTask(seen(values), bits, per_channel, asymmetric)
            low, high = self.create(section).find_range(task)
            check_range(low, high, task)

    @per_channel_and_tensor
    def test_one_image_with_one_value_is_enough(self, section: Section, per_channel: bool) -> None:
        """The smallest calibration set that there is."""
        channels = _CHANNELS if per_channel else 1
        task = ActivationRangeTask(seen(torch.full((1, channels, 1), 0.4)), 4, per_channel)
        low, high = self.create(section).find_range(task)
        check_range(low, high, task)

    @per_channel_and_tensor
    @signed_and_unsigned
    @every_symmetry
    def test_eight_bits_keep_most_of_the_values(
        self, section: Section, per_channel: bool, signed: bool, asymmetric: bool
    ) -> None:
        """A range in the wrong unit, or of another channel, leaves nothing of an activation."""
        statistics = seen(normal_values(per_channel, signed))
        low, high = self.create(section).find_range(ActivationRangeTask(statistics, 8, per_channel, asymmetric))
        step = ((high - low) / 255)[:, None]
        samples = statistics.samples
        error = (torch.round(samples.clamp(low[:, None], high[:, None]) / step) * step - samples).square().sum()
        assert float(error / samples.square().sum()) < LARGEST_ERROR

    @per_channel_and_tensor
    def test_the_same_activation_has_the_same_range(self, section: Section, per_channel: bool) -> None:
        """Nothing random, nothing kept from another activation, and a second instance finds the same."""
        rule = self.create(section)
        task = ActivationRangeTask(seen(normal_values(per_channel, signed=True)), 4, per_channel, asymmetric=True)
        other = ActivationRangeTask(seen(normal_values(per_channel, signed=False) * 9), 8, per_channel)
        torch.manual_seed(1)
        low, high = rule.find_range(task)
        rule.find_range(other)
        torch.manual_seed(2)
        for again in (rule, self.create(section)):
            found_low, found_high = again.find_range(task)
            assert torch.equal(found_low, low)
            assert torch.equal(found_high, high)

    def test_the_statistics_are_not_edited(self, section: Section) -> None:
        """Every bit-width reads the same ones."""
        statistics = seen(normal_values(per_channel=True, signed=True))
        values = (statistics.minima, statistics.maxima, statistics.samples)
        before = [value.clone() for value in values]
        self.create(section).find_range(ActivationRangeTask(statistics, 4, True))
        assert all(torch.equal(value, kept) for value, kept in zip(values, before, strict=True))

    @pytest.mark.parametrize("bits", [4, 8])
    def test_a_network_is_quantized(self, section: Section, bits: int) -> None:
        """The whole journey, from the JSON to a model that runs."""
        quantize_small_network(small_config(activation_range=section, activation_bits=bits))


def normal_values(per_channel: bool, signed: bool) -> torch.Tensor:
    """(images, channels, values) normal values; those of the channels and images have different deviations."""
    generator = torch.Generator().manual_seed(0)
    channels = _CHANNELS if per_channel else 1
    deviations = 0.5 + torch.rand(6, channels, 1, generator=generator)
    values = torch.randn(6, channels, 300, generator=generator) * deviations
    return values if signed else values.abs()


def degenerate_values(per_channel: bool) -> dict[str, torch.Tensor]:
    """Values at the limits of what an activation may hold, by name."""
    values = normal_values(per_channel, signed=True)
    zero_channel = values.clone()
    zero_channel[:, 0] = 0.0
    return {
        "all zero": torch.zeros_like(values),
        "constant": torch.full_like(values, 0.7),
        "negative": -values.abs(),
        "a zero channel": zero_channel,
        "huge": values * 1e30,
        "tiny": values * 1e-30,
    }


def seen(values: torch.Tensor) -> ActivationStatistics:
    """(images, channels, values) -> what a pass over the images sees of them."""
    return ActivationStatistics(values.amin(dim=2), values.amax(dim=2), values.transpose(0, 1).flatten(1), 4)


def check_range(low: torch.Tensor, high: torch.Tensor, task: ActivationRangeTask) -> None:
    """Checks that the ends of a range are finite, one a channel, and on their sides of zero."""
    channels = task.statistics.minima.shape[1:]
    for end in (low, high):
        assert end.shape == channels
        assert end.dtype == torch.float32
        assert bool(torch.isfinite(end).all())
    assert bool((low <= 0).all())
    assert bool((high >= 0).all())
    if not task.signed:
        assert bool((low == 0).all()), "no value is negative"
    elif not task.asymmetric:
        assert torch.equal(low, -high), "a symmetric range has one threshold for both signs"
