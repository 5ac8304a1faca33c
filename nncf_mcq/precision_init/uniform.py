"""The same bits everywhere."""

from __future__ import annotations

from typing import Literal

from nncf_mcq.config.types import Bits
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionInitializer, PrecisionResult, PrecisionTask


@PRECISION_INITIALIZERS.register
class UniformPrecision(PrecisionInitializer):
    """Gives every layer the same bit-width."""

    class Parameters(PrecisionInitializer.Parameters):
        """`bits`: the width of all weights."""

        type: Literal["uniform"] = "uniform"
        bits: Bits = 8
        """Bit-width of all weights."""

    parameters: Parameters

    searches = False

    def required_bits(self, task_bits: tuple[int, ...]) -> tuple[int, ...]:
        """Only the one width."""
        return (self.parameters.bits,)

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """The uniform policy."""
        return PrecisionResult(task.policy(dict.fromkeys(task.quantizable.groups, self.parameters.bits)))
