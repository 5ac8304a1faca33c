"""The same bits everywhere."""

from __future__ import annotations

from typing import Literal

from nncf_mcq.config.types import Bits
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionInitializer, PrecisionResult, PrecisionTask


@PRECISION_INITIALIZERS.register
class UniformPrecision(PrecisionInitializer):
    """Gives every layer the same bit-width, or the next one that it can have."""

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
        quantizable, bits = task.quantizable, self.parameters.bits
        return PrecisionResult(
            task.policy({name: quantizable.weight_bits(name, [bits])[0] for name in quantizable.groups})
        )
