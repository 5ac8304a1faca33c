"""Conformance of range initializers: the rules that clip weights."""

from __future__ import annotations

import pytest
import torch

from nncf_mcq.policy import SUPPORTED_BITS
from nncf_mcq.range_init import QuantizationMode, RangeChoice, RangeInitializer, RangeTask, grid_from_scale
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.testing.layers import SHAPES, degenerate_weights, normal_weights, range_task
from nncf_mcq.testing.networks import quantize_small_network, small_config
from nncf_mcq.testing.registration import RegisteredTestCase, Section

MODES: tuple[QuantizationMode, ...] = ("symmetric", "asymmetric")

LARGEST_ERROR = 0.25
"""Squared error that 8 bits may leave, relative to the squares of the weights: clipping is a choice, noise is not."""

every_mode = pytest.mark.parametrize("mode", MODES)
per_channel_and_tensor = pytest.mark.parametrize("per_channel", [True, False], ids=["per_channel", "per_tensor"])


class RangeInitializerTestCase(RegisteredTestCase):
    """Suite for a subclass of `RangeInitializer`; the fixture `section` is its JSON."""

    registry = RANGE_INITIALIZERS
    path = "compression.initializer.range"

    @pytest.mark.parametrize("bits", SUPPORTED_BITS)
    @every_mode
    @per_channel_and_tensor
    def test_the_grid_is_one_of_the_bit_width(
        self, section: Section, bits: int, mode: QuantizationMode, per_channel: bool
    ) -> None:
        """Every kind of layer gets positive scales and integer zero points, one for each row or for the layer."""
        for shape in SHAPES.values():
            task = self.task(section, normal_weights(shape), bits, mode, per_channel)
            choice = self.create(section).find_range(task)
            check_choice(choice, task)
            if choice.errors is not None:
                assert choice.errors.shape == (len(choice.rules), *shape[:2])
                assert bool(torch.isfinite(choice.errors).all())
                assert bool((choice.errors >= 0).all())

    @pytest.mark.parametrize("name", list(degenerate_weights()))
    @every_mode
    @per_channel_and_tensor
    def test_degenerate_weights_have_a_grid(
        self, section: Section, name: str, mode: QuantizationMode, per_channel: bool
    ) -> None:
        """Zeros, constants, single weights, outliers, and values near the ends of float32."""
        weights = degenerate_weights()[name]
        for bits in (2, 4, 8):
            task = self.task(section, weights, bits, mode, per_channel)
            choice = self.create(section).find_range(task)
            check_choice(choice, task)
            quantized = choice.grid.quantize(weights)
            assert bool((quantized[weights == 0.0] == 0.0).all()), "a weight of zero must stay zero"

    @every_mode
    @per_channel_and_tensor
    def test_eight_bits_keep_most_of_the_weights(
        self, section: Section, mode: QuantizationMode, per_channel: bool
    ) -> None:
        """A range in the wrong unit, or of another row, leaves nothing of a layer."""
        for shape in SHAPES.values():
            weights = normal_weights(shape)
            task = self.task(section, weights, 8, mode, per_channel)
            quantized = self.create(section).find_range(task).grid.quantize(weights)
            error = (quantized - weights).square().sum() / weights.square().sum()
            assert float(error) < LARGEST_ERROR

    @every_mode
    def test_variances_are_enough(self, section: Section, mode: QuantizationMode) -> None:
        """Layers with very many inputs have no covariance."""
        task = self.task(section, normal_weights(SHAPES["convolution"]), 4, mode, True, diagonal=True)
        check_choice(self.create(section).find_range(task), task)

    @per_channel_and_tensor
    def test_the_same_layer_has_the_same_range(self, section: Section, per_channel: bool) -> None:
        """Nothing random, nothing kept from another layer, and a second instance finds the same."""
        rule = self.create(section)
        first = normal_weights(SHAPES["convolution"], seed=1)
        other = 9 * normal_weights(SHAPES["matmul"], seed=2)
        torch.manual_seed(1)
        choice = rule.find_range(self.task(section, first, 3, "asymmetric", per_channel))
        rule.find_range(self.task(section, other, 8, "symmetric", per_channel))
        torch.manual_seed(2)
        for again in (rule, self.create(section)):
            found = again.find_range(self.task(section, first, 3, "asymmetric", per_channel))
            assert torch.equal(found.grid.scale, choice.grid.scale)
            assert torch.equal(found.grid.zero_point, choice.grid.zero_point)
            assert torch.equal(found.rule, choice.rule)

    def test_the_task_is_not_edited(self, section: Section) -> None:
        """Weights and statistics are those of the model, and every bit-width reads them."""
        task = self.task(section, normal_weights(SHAPES["grouped"]), 4, "asymmetric", True)
        values = [task.weights, task.statistics.mean, task.statistics.variance]
        values += [value for value in (task.statistics.covariance, task.fisher) if value is not None]
        before = [value.clone() for value in values]
        self.create(section).find_range(task)
        assert all(torch.equal(value, kept) for value, kept in zip(values, before, strict=True))

    def test_it_is_the_rule_of_every_layer(self, section: Section) -> None:
        """Without `target_scopes` a rule serves all layers."""
        rule = self.create(section)
        assert isinstance(rule, RangeInitializer)
        assert isinstance(rule.for_layer("any"), RangeInitializer)
        assert rule.parameters == self.parameters(section)

    def test_a_network_is_quantized(self, section: Section) -> None:
        """The whole journey, from the JSON to a model that runs."""
        quantize_small_network(small_config(weight_range=section))

    def task(
        self,
        section: Section,
        weights: torch.Tensor,
        bits: int,
        mode: QuantizationMode,
        per_channel: bool,
        *,
        diagonal: bool = False,
    ) -> RangeTask:
        """A task with Fisher information only where the rule says that it needs it."""
        fisher = self.create(section).needs_fisher
        return range_task(weights, bits, mode, per_channel, diagonal=diagonal, fisher=fisher)


def check_choice(choice: RangeChoice, task: RangeTask) -> None:
    """Checks that a choice is a grid of the task's bit-width and mode for every row."""
    rows = task.weights.shape[:2]
    grid = choice.grid
    for values in (grid.scale, grid.zero_point):
        assert values.shape == rows
        assert values.dtype == torch.float32
        assert bool(torch.isfinite(values).all())
    assert bool((grid.scale > 0).all())
    assert torch.equal(grid.zero_point, grid.zero_point.round())
    # Rules of a mix are stacked, and packing reads the levels: all rules mean the same by a bit-width.
    expected = grid_from_scale(grid.scale, grid.zero_point, task.bits, task.mode)
    assert (grid.low, grid.high) == (expected.low, expected.high)
    assert torch.equal(grid.zero_point, expected.zero_point)
    if not task.per_channel:
        for values in (grid.scale, grid.zero_point):
            assert float(values.min()) == float(values.max()), "one range for the whole layer"
    assert bool(torch.isfinite(grid.quantize(task.weights)).all())
    assert choice.rule.shape == rows
    assert not choice.rule.is_floating_point()
    assert 0 <= int(choice.rule.min()) <= int(choice.rule.max()) < len(choice.rules)
    assert choice.dominant_rule in choice.rules
