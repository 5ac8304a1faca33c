"""What a policy costs: weight bits, bytes on disk and bit operations, and what a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nncf_mcq.errors import BudgetError
from nncf_mcq.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.policy import Budget, Policy

FLOAT_BITS = 32
INT8_BITS = 8

BUDGET_PATH = "compression.initializer.precision.budget"
"""Where a budget stands in the JSON, for messages."""


@dataclass(frozen=True)
class Constraint:
    """One hard limit that is linear in the choice of each group's bits.

    Attributes:
        path: The budget's key in the JSON, for messages.
        unit: What is summed, for messages.
        cost: Group name and width to cost.
        fixed: Cost that no choice changes.
        limit: Largest allowed sum.
        divisor: The sum divided by this is in the unit of the JSON.
        note: Appended to the message that the limit is out of reach.
    """

    path: str
    unit: str
    cost: Mapping[str, Mapping[int, float]]
    fixed: float
    limit: float
    divisor: float = 1.0
    note: str = ""

    def total(self, group_bits: Mapping[str, int]) -> float:
        """Cost of a choice of bits."""
        return self.fixed + sum(self.cost[group][bits] for group, bits in group_bits.items())

    def is_met(self, group_bits: Mapping[str, int]) -> bool:
        """Whether the choice keeps the limit, up to rounding of the last digits."""
        return self.total(group_bits) <= self.limit * (1 + 1e-9)

    @property
    def reachable(self) -> tuple[float, float]:
        """Smallest and largest total of any choice."""
        return (
            self.fixed + sum(min(costs.values()) for costs in self.cost.values()),
            self.fixed + sum(max(costs.values()) for costs in self.cost.values()),
        )

    def check_reachable(self) -> None:
        """Raises BudgetError when no choice keeps the limit."""
        smallest, largest = self.reachable
        if smallest > self.limit * (1 + 1e-9):
            found, low, high = (value / self.divisor for value in (self.limit, smallest, largest))
            raise BudgetError(
                f"{self.path}: found {found:.6g} {self.unit}, which no policy meets: "
                f"reachable are {low:.6g} to {high:.6g} {self.unit}{self.note}"
            )


@dataclass(frozen=True)
class CostModel:
    """Costs of the policies of one model.

    Attributes:
        quantizable: The model's layers.
        activation_bits: Activation quantizer name to its width.
        fixed_bytes: Measures the bytes of the .bin that are not packed weights: scales, biases, float constants,
            quantizer ranges. Called only for a budget in bytes. None: not known yet; constraints leave them out.
    """

    quantizable: QuantizableModel
    activation_bits: Mapping[str, int]
    fixed_bytes: Callable[[], int] | None

    def average_bits(self, policy: Policy) -> float:
        """Mean width over all quantized weights, in bits."""
        bits = sum(members[0].weights * policy.weight_bits[group] for group, members in self.quantizable.groups.items())
        return bits / self.quantizable.quantizable_weights

    def bops(self, policy: Policy) -> int:
        """Bit operations of one input with the policy's own activation bits."""
        widths = {**self.activation_bits, **policy.activation_bits}
        return sum(_bops(layer, policy.weight_bits[layer.name], widths) for layer in self.quantizable.layers)

    def layer_bops(self, layer: QuantizableLayer, bits: int) -> int:
        """Bit operations of one layer with the configured activation bits."""
        return _bops(layer, bits, self.activation_bits)

    def constraints(self, budget: Budget, bits: tuple[int, ...]) -> list[Constraint]:
        """The budget as linear constraints over the groups' bits.

        Raises:
            BudgetError: No choice meets one of them; names the smallest and largest reachable values.
        """
        groups = self.quantizable.groups
        total = self.quantizable.quantizable_weights
        found: list[Constraint] = []
        if budget.weight_size is not None:
            size = budget.weight_size
            path = f"{BUDGET_PATH}.weight_size"
            weight_bits = {
                name: {width: float(members[0].weights * width) for width in bits} for name, members in groups.items()
            }
            if size.average_bits is not None:
                limit = size.average_bits * total
                found.append(Constraint(f"{path}.average_bits", "bits", weight_bits, 0.0, limit, float(total)))
            if size.ratio is not None:
                limit = size.ratio * total * FLOAT_BITS
                divisor = float(total * FLOAT_BITS)
                found.append(Constraint(f"{path}.ratio", "of the FP32 size", weight_bits, 0.0, limit, divisor))
            if size.bytes is not None:
                weight_bytes = {
                    name: {width: float(-(-value // 8)) for width, value in costs.items()}
                    for name, costs in weight_bits.items()
                }
                fixed, note = 0.0, ", without scales, biases and float constants"
                if self.fixed_bytes is not None:
                    fixed, note = float(self.fixed_bytes()), ""
                unit = "bytes of the .bin"
                found.append(Constraint(f"{path}.bytes", unit, weight_bytes, fixed, size.bytes, note=note))
        if budget.bops is not None:
            bops = {
                name: {width: float(sum(self.layer_bops(layer, width) for layer in members)) for width in bits}
                for name, members in groups.items()
            }
            at_int8 = float(sum(layer.macs * INT8_BITS * INT8_BITS for layer in self.quantizable.layers))
            if budget.bops.total is not None:
                found.append(Constraint(f"{BUDGET_PATH}.bops.total", "bit operations", bops, 0.0, budget.bops.total))
            if budget.bops.ratio is not None:
                found.append(
                    Constraint(f"{BUDGET_PATH}.bops.ratio", "of INT8", bops, 0.0, budget.bops.ratio * at_int8, at_int8)
                )
        for constraint in found:
            constraint.check_reachable()
        return found


def _bops(layer: QuantizableLayer, bits: int, activation_bits: Mapping[str, int]) -> int:
    """MACs x weight bits x activation bits; an input that is not quantized counts 32 bits."""
    widths = [activation_bits[name] for name in layer.activation_quantizers]
    return layer.macs * bits * max(widths, default=FLOAT_BITS)
