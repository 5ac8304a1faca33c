"""Clipping rules with one mistake each, and the tests of the suite that must notice it."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field

from nncf_mcq import RANGE_INITIALIZERS
from nncf_mcq.range_init import Grid, RangeInitializer, RangeTask, SingleRule, grid_from_range
from nncf_mcq.testing import RangeInitializerTestCase
from tests.testing.broken.sections import section_of


class LargestWeight(SingleRule):
    """A sound rule to make mistakes in: up to the largest weight."""

    def find_grid(self, task: RangeTask) -> Grid:
        low, high = task.weights.amin(dim=2), task.weights.amax(dim=2)
        if not task.per_channel:
            low, high = low.amin().expand_as(low), high.amax().expand_as(high)
        return grid_from_range(low, high, task.bits, task.mode)


@RANGE_INITIALIZERS.register
class WrongWidth(LargestWeight):
    """Has the levels of one bit more."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["wrong_width"] = "wrong_width"

    def find_grid(self, task: RangeTask) -> Grid:
        return super().find_grid(dataclasses.replace(task, bits=min(task.bits + 1, 8)))


class TestWrongWidth(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_grid_is_one_of_the_bit_width"}
    section = section_of("wrong_width")


@RANGE_INITIALIZERS.register
class AlwaysPerChannel(LargestWeight):
    """Has a range for each row even where there is to be one for the layer."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["always_per_channel"] = "always_per_channel"

    def find_grid(self, task: RangeTask) -> Grid:
        return super().find_grid(dataclasses.replace(task, per_channel=True))


class TestAlwaysPerChannel(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_grid_is_one_of_the_bit_width"}
    section = section_of("always_per_channel")


@RANGE_INITIALIZERS.register
class ZeroScale(LargestWeight):
    """Divides by zero where all weights are zero."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["zero_scale"] = "zero_scale"

    def find_grid(self, task: RangeTask) -> Grid:
        grid = super().find_grid(task)
        return dataclasses.replace(grid, scale=grid.scale * (task.weights != 0).any(dim=2))


class TestZeroScale(RangeInitializerTestCase):
    fails: ClassVar = {"test_degenerate_weights_have_a_grid"}
    section = section_of("zero_scale")


@RANGE_INITIALIZERS.register
class Overflow(LargestWeight):
    """Squares what may be too large for it."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["overflow"] = "overflow"

    def find_grid(self, task: RangeTask) -> Grid:
        largest = task.weights.square().amax(dim=2).sqrt()
        largest = largest if task.per_channel else largest.amax().expand_as(largest)
        return grid_from_range(-largest, largest, task.bits, task.mode)


class TestOverflow(RangeInitializerTestCase):
    fails: ClassVar = {"test_degenerate_weights_have_a_grid"}
    section = section_of("overflow")


@RANGE_INITIALIZERS.register
class WrongUnit(LargestWeight):
    """Takes the length of the range for that of a step."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["wrong_unit"] = "wrong_unit"

    def find_grid(self, task: RangeTask) -> Grid:
        grid = super().find_grid(task)
        return dataclasses.replace(grid, scale=grid.scale * 255)


class TestWrongUnit(RangeInitializerTestCase):
    fails: ClassVar = {"test_eight_bits_keep_most_of_the_weights"}
    section = section_of("wrong_unit")


@RANGE_INITIALIZERS.register
class NeedsCovariance(LargestWeight):
    """Takes the covariance for granted."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["needs_covariance"] = "needs_covariance"

    def find_grid(self, task: RangeTask) -> Grid:
        assert task.statistics.covariance is not None
        return super().find_grid(task)


class TestNeedsCovariance(RangeInitializerTestCase):
    fails: ClassVar = {"test_variances_are_enough"}
    section = section_of("needs_covariance")


@RANGE_INITIALIZERS.register
class Unseeded(LargestWeight):
    """Finds another range each time."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["unseeded"] = "unseeded"

    def find_grid(self, task: RangeTask) -> Grid:
        grid = super().find_grid(task)
        return dataclasses.replace(grid, scale=grid.scale * (0.9 + 0.1 * torch.rand(())))


class TestUnseeded(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_same_layer_has_the_same_range"}
    section = section_of("unseeded")


@RANGE_INITIALIZERS.register
class Remembers(LargestWeight):
    """Widens the range of a layer to that of the layers before it."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["remembers"] = "remembers"

    largest = 0.0

    def find_grid(self, task: RangeTask) -> Grid:
        self.largest = max(self.largest, float(task.weights.abs().max()))
        high = torch.full(task.weights.shape[:2], self.largest)
        return grid_from_range(-high, high, task.bits, task.mode)


class TestRemembers(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_same_layer_has_the_same_range"}
    section = section_of("remembers")


@RANGE_INITIALIZERS.register
class Edits(LargestWeight):
    """Clips the weights themselves."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["edits"] = "edits"

    def find_grid(self, task: RangeTask) -> Grid:
        task.weights.clamp_(-0.01, 0.01)
        return super().find_grid(task)


class TestEdits(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_task_is_not_edited"}
    section = section_of("edits")


@RANGE_INITIALIZERS.register
class TakesAnyKey(LargestWeight):
    """Ignores misspelt parameters."""

    class Parameters(RangeInitializer.Parameters):
        model_config = ConfigDict(extra="ignore")

        type: Literal["takes_any_key"] = "takes_any_key"


class TestTakesAnyKey(RangeInitializerTestCase):
    fails: ClassVar = {"test_an_unknown_key_is_refused", "test_the_schema_knows_the_parameters"}
    section = section_of("takes_any_key")


@RANGE_INITIALIZERS.register
class Changeable(LargestWeight):
    """Has parameters that can be assigned to."""

    class Parameters(RangeInitializer.Parameters):
        model_config = ConfigDict(frozen=False)

        type: Literal["changeable"] = "changeable"


class TestChangeable(RangeInitializerTestCase):
    fails: ClassVar = {"test_parameters_do_not_change"}
    section = section_of("changeable")


@RANGE_INITIALIZERS.register
class BadDefault(LargestWeight):
    """Has a default that the JSON may not have."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["bad_default"] = "bad_default"
        factor: Annotated[float, Field(gt=0)] = -1.0


class TestBadDefault(RangeInitializerTestCase):
    fails: ClassVar = {"test_defaults_are_values_that_the_json_may_have"}
    section = section_of("bad_default", factor=1.0)


@RANGE_INITIALIZERS.register
class NoJson(LargestWeight):
    """Has a parameter that JSON cannot hold: there are no tuples, and nothing is converted."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["no_json"] = "no_json"
        ends: tuple[float, float] = (-1.0, 1.0)


class TestNoJson(RangeInitializerTestCase):
    fails: ClassVar = {"test_parameters_survive_json", "test_defaults_are_values_that_the_json_may_have"}
    section = section_of("no_json")


@RANGE_INITIALIZERS.register
class NoLayer(LargestWeight):
    """Knows no layer by its name."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["no_layer"] = "no_layer"

    def for_layer(self, name: str) -> RangeInitializer:
        raise KeyError(name)


class TestNoLayer(RangeInitializerTestCase):
    fails: ClassVar = {"test_it_is_the_rule_of_every_layer", "test_a_network_is_quantized"}
    section = section_of("no_layer")


@RANGE_INITIALIZERS.register
class Undocumented(LargestWeight):
    class Parameters(RangeInitializer.Parameters):
        type: Literal["undocumented"] = "undocumented"


class TestUndocumented(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_type_names_the_class"}
    section = section_of("undocumented")


class TestUnregistered(RangeInitializerTestCase):
    fails: ClassVar = {"test_the_type_names_the_class"}
    section = section_of("unregistered")


class TestWithoutSection(RangeInitializerTestCase):
    """A suite that nothing is said to."""

    fails: ClassVar = {"test_the_type_names_the_class"}
