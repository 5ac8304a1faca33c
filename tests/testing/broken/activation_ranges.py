"""Range initializers of activations with one mistake each, and the tests of the suite that must notice it."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from nncf_mcq import ACTIVATION_RANGE_INITIALIZERS
from nncf_mcq.range_init.activation import ActivationRangeInitializer, ActivationRangeTask
from nncf_mcq.testing import ActivationRangeInitializerTestCase
from tests.testing.broken.sections import section_of


class LargestValue(ActivationRangeInitializer):
    """A sound rule to make mistakes in."""

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        return task.largest.amax(dim=0)


@ACTIVATION_RANGE_INITIALIZERS.register
class Scalar(LargestValue):
    """Has one threshold whatever the channels."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["scalar"] = "scalar"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        return task.largest.amax()


class TestScalar(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_the_range_holds_zero", "test_one_image_with_one_value_is_enough"}
    section = section_of("scalar")


@ACTIVATION_RANGE_INITIALIZERS.register
class NotANumber(LargestValue):
    """Divides by zero where all values are zero."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["not_a_number"] = "not_a_number"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        largest = super().find_threshold(task)
        return largest * (largest / largest)


class TestNotANumber(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_degenerate_values_have_a_finite_range"}
    section = section_of("not_a_number")


@ACTIVATION_RANGE_INITIALIZERS.register
class LowestValue(LargestValue):
    """Begins where the values do, which may be above zero."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["lowest_value"] = "lowest_value"

    def find_range(self, task: ActivationRangeTask) -> tuple[torch.Tensor, torch.Tensor]:
        return task.statistics.minima.amin(dim=0), task.statistics.maxima.amax(dim=0)


class TestLowestValue(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_the_range_holds_zero", "test_degenerate_values_have_a_finite_range"}
    section = section_of("lowest_value")


@ACTIVATION_RANGE_INITIALIZERS.register
class OneStep(LargestValue):
    """Takes a step for the range."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["one_step"] = "one_step"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        return super().find_threshold(task) / 255


class TestOneStep(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_eight_bits_keep_most_of_the_values"}
    section = section_of("one_step")


@ACTIVATION_RANGE_INITIALIZERS.register
class Remembers(LargestValue):
    """Never becomes smaller."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["remembers"] = "remembers"

    floor = 0.0

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        found = super().find_threshold(task).clamp_min(self.floor)
        self.floor = float(found.max())
        return found


class TestRemembers(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_the_same_activation_has_the_same_range"}
    section = section_of("remembers")


@ACTIVATION_RANGE_INITIALIZERS.register
class Edits(LargestValue):
    """Sorts the samples in place."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["edits"] = "edits"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        task.statistics.samples.copy_(task.statistics.samples.sort(dim=1).values)
        return super().find_threshold(task)


class TestEdits(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_the_statistics_are_not_edited"}
    section = section_of("edits")


@ACTIVATION_RANGE_INITIALIZERS.register
class EightBitsOnly(LargestValue):
    """Fails at any other bit-width."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["eight_bits_only"] = "eight_bits_only"

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        return super().find_threshold(task) * {8: 1.0}[task.bits]


class TestEightBitsOnly(ActivationRangeInitializerTestCase):
    fails: ClassVar = {"test_the_range_holds_zero", "test_a_network_is_quantized"}
    section = section_of("eight_bits_only")
