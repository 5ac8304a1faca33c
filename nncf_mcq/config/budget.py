"""The hard limits of a search: size of the weights, bit operations, latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from nncf_mcq.config.goal import Goal
from nncf_mcq.config.parameters import NamedParameters, Parameters, PathMarker


class WeightSizeBudget(Parameters):
    """Limit on the size of the weights; exactly one of the three."""

    average_bits: PositiveFloat | None = None
    """Mean bit-width over all weights of the quantizable layers; what stays in floating point is not counted."""
    bytes: PositiveInt | None = None
    """Size of the whole .bin file, scales, biases and float constants included, in bytes."""
    ratio: PositiveFloat | None = None
    """Bits of the quantizable weights relative to FP32: 0.125 means 4 bits on average."""

    @model_validator(mode="after")
    def _exactly_one(self) -> WeightSizeBudget:
        if sum(value is not None for value in (self.average_bits, self.bytes, self.ratio)) != 1:
            raise ValueError("exactly one of average_bits, bytes, ratio")
        return self


class BopsBudget(Parameters):
    """Limit on bit operations: the sum of MACs x weight bits x activation bits over the layers; one of the two."""

    total: PositiveFloat | None = None
    """Bit operations of one input."""
    ratio: NonNegativeFloat | None = None
    """Bit operations relative to the same layers at 8-bit weights and 8-bit activations."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BopsBudget:
        if sum(value is not None for value in (self.total, self.ratio)) != 1:
            raise ValueError("exactly one of total, ratio")
        return self


class LatencyBudget(Parameters):
    """Limit on the latency of one inference on this machine; layers may then stay in floating point.

    All bit-widths run on the same int8 kernels, so a limit of 1 allows no float layer, and one below 1 cannot be met.
    """

    ratio_to_int8: PositiveFloat
    """Latency relative to the model with all layers in int8, e.g. 1.1."""
    precision: Literal["f32", "bf16"] = "f32"
    """Precision of float layers: the INFERENCE_PRECISION_HINT that the model will be compiled with. Policies are always
    scored in f32."""
    table: Annotated[str | None, PathMarker()] = None
    """File of `nncf-mcq latency-table`, e.g. of another machine; by default a table is measured here and cached."""


class Budget(Parameters):
    """Hard limits of a search; all that are given must hold."""

    weight_size: WeightSizeBudget | None = None
    bops: BopsBudget | None = None
    latency: LatencyBudget | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Budget:
        if self.weight_size is None and self.bops is None and self.latency is None:
            raise ValueError("at least one of weight_size, bops, latency")
        return self


class PrecisionParameters(NamedParameters):
    """Base of the parameters of a precision initializer."""

    may_change: ClassVar[frozenset[str]] = frozenset()
    """Parameters that may have another value when a search is resumed, e.g. its length."""

    @model_validator(mode="before")
    @classmethod
    def _goal_where_there_may_be_one(cls, values: Any) -> Any:
        """Those who ask for a goal should hear more than that the key is unknown."""
        if isinstance(values, Mapping) and "goal" in values and "goal" not in cls.model_fields:
            raise _at("goal", values["goal"], "a goal only with the types ilp and greedy; the others take a budget")
        return values

    @property
    def limits(self) -> Budget | None:
        """The budget that the policy found has to keep, if any."""
        return None

    @property
    def aim(self) -> Goal | None:
        """The goal that the policy found has to keep, if any."""
        return None


class BudgetedParameters(PrecisionParameters):
    """Base of the parameters of a precision initializer that keeps a budget."""

    budget: Budget

    @property
    def limits(self) -> Budget:
        """The budget."""
        return self.budget


class BudgetOrGoalParameters(PrecisionParameters):
    """Base of the parameters of a precision initializer that keeps a budget, or finds the smallest file for a goal."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "object", "description": what}}}
                for name, what in (("budget", "Limits."), ("goal", "Quality to keep."))
            ]
        }
    )

    budget: Budget | None = None
    """Hard limits: the best policy within them is found. Either this or a goal."""
    goal: Goal | None = None
    """Quality to keep: the smallest policy that keeps it is found. Either this or a budget."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BudgetOrGoalParameters:
        if self.budget is None and self.goal is None:
            raise _at("budget", None, "a budget, or a goal in its place")
        if self.budget is not None and self.goal is not None:
            raise _at("goal", self.goal.model_dump(exclude_none=True), "exactly one of budget and goal")
        return self

    @property
    def limits(self) -> Budget | None:
        """The budget."""
        return self.budget

    @property
    def aim(self) -> Goal | None:
        """The goal."""
        return self.goal


def _at(key: str, found: object, allowed: str) -> PydanticCustomError:
    """An error that names a key of the section; see `nncf_mcq.config.messages`."""
    return PydanticCustomError("registered_type", "{allowed}", {"allowed": allowed, "key": (key,), "found": found})
