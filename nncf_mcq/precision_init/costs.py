"""Costs of policies (weight bits, bytes on disk, bit operations, latency) and the constraints of a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nncf_mcq.config.budget import BopsBudget, Budget, LatencyBudget, WeightSizeBudget
from nncf_mcq.config.paths import BUDGET_PATH
from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.errors import BudgetError
from nncf_mcq.ir.assemble import layer_bytes
from nncf_mcq.latency.table import LatencyTable
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.policy import FLOAT32_BITS, FLOAT_CHOICE, INT8_BITS, Policy
from nncf_mcq.weights.level_range import has_zero_points


@dataclass(frozen=True)
class Constraint:
    """One hard limit on the choice of each group's bits: a sum of costs of groups, and of products of two groups' bits.

    Attributes:
        path: The budget's key in the JSON, for messages.
        unit: What is summed, for messages.
        cost: Group name and width to cost; every group and width, costs may not fall with the width.
        fixed: Cost that no choice changes.
        limit: Largest allowed sum.
        divisor: The sum divided by this is in the unit of the JSON.
        note: Appended to the message that the limit is out of reach.
        products: Two groups to the cost of one bit of the one times one bit of the other, as of the weights and the
            input of a layer.
    """

    path: str
    unit: str
    cost: Mapping[str, Mapping[int, float]]
    fixed: float
    limit: float
    divisor: float = 1.0
    note: str = ""
    products: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def total(self, group_bits: Mapping[str, int]) -> float:
        """Cost of a choice of bits."""
        alone = sum(self.cost[group][bits] for group, bits in group_bits.items())
        pairs = sum(cost * group_bits[left] * group_bits[right] for (left, right), cost in self.products.items())
        return self.fixed + alone + pairs

    def marginal(self, group_bits: Mapping[str, float]) -> dict[str, dict[int, float]]:
        """Group name and width to the cost that depends on the group's width while all others have these bits.

        Args:
            group_bits: Bits of every group; they may be fractions.
        """
        rates = dict.fromkeys(self.cost, 0.0)
        for (left, right), cost in self.products.items():
            rates[left] += cost * group_bits[right]
            rates[right] += cost * group_bits[left]
        return {
            group: {bits: value + rates[group] * bits for bits, value in costs.items()}
            for group, costs in self.cost.items()
        }

    def is_met(self, group_bits: Mapping[str, int]) -> bool:
        """Tells whether the choice keeps the limit, up to rounding of the last digits."""
        return self.total(group_bits) <= self.limit * (1 + 1e-9)

    @property
    def reachable(self) -> tuple[float, float]:
        """Smallest and largest total of any choice."""
        return (
            self.total({group: min(costs) for group, costs in self.cost.items()}),
            self.total({group: max(costs) for group, costs in self.cost.items()}),
        )

    def check_reachable(self) -> None:
        """Raises BudgetError when no choice keeps the limit."""
        smallest, largest = self.reachable
        if smallest > self.limit * (1 + 1e-9):
            found, low, high = (value / self.divisor for value in (self.limit, smallest, largest))
            raise BudgetError(
                f"{self.path}: found {found:.6g} {self.unit}, which no policy meets; "
                f"reachable: {low:.6g} to {high:.6g} {self.unit}{self.note}"
            )


@dataclass(frozen=True)
class CostModel:
    """Costs of the policies of one model.

    Attributes:
        quantizable: The model's layers.
        activation_bits: Activation quantizer name to its width, unless a policy says otherwise.
        fixed_bytes: Measures the bytes of the .bin that are not packed weights: scales, biases, float constants,
            quantizer ranges. Called only for a budget in bytes. None: not known yet; constraints leave them out.
        latency: Times of the layers, for a budget of latency. None: not known; then no constraint comes of it.
        weights: Tells which layers may have a zero point for each channel, which are stored too. None: none of them.
    """

    quantizable: QuantizableModel
    activation_bits: Mapping[str, int]
    fixed_bytes: Callable[[], int] | None
    latency: LatencyTable | None = None
    weights: WeightsConfig | None = None

    def average_bits(self, policy: Policy) -> float:
        """Mean width over all quantized weights, in bits."""
        bits = sum(members[0].weights * policy.weight_bits[group] for group, members in self.quantizable.groups.items())
        return bits / self.quantizable.quantizable_weights

    def bops(self, policy: Policy) -> int:
        """Bit operations of one input with the policy's own activation bits."""
        widths = {**self.activation_bits, **policy.activation_bits}
        return sum(_bops(layer, policy.weight_bits[layer.name], widths) for layer in self.quantizable.layers)

    def constraints(self, budget: Budget, choices: Mapping[str, Sequence[int]]) -> list[Constraint]:
        """The budget as constraints over the groups' bits.

        Args:
            budget: The limits.
            choices: What a policy decides, as `QuantizableModel.choices`.

        Raises:
            BudgetError: No choice meets one of them; names the smallest and largest reachable values.
        """
        found: list[Constraint] = []
        if budget.weight_size is not None:
            found.extend(self._size_constraints(budget.weight_size, choices))
        if budget.bops is not None:
            found.append(self._bops_constraint(budget.bops, choices))
        if budget.latency is not None and self.latency is not None:
            found.append(self._latency_constraint(budget.latency, self.latency, choices))
        for constraint in found:
            constraint.check_reachable()
        return found

    def average_bits_limit(self, limit: float, choices: Mapping[str, Sequence[int]]) -> Constraint:
        """The constraint of a budget of average bits."""
        return self.size_limit(WeightSizeBudget(average_bits=limit), choices)

    def size_limit(self, size: WeightSizeBudget, choices: Mapping[str, Sequence[int]]) -> Constraint:
        """The constraint of a budget of size alone."""
        (constraint,) = self.constraints(Budget(weight_size=size), choices)
        return constraint

    def _size_constraints(self, size: WeightSizeBudget, choices: Mapping[str, Sequence[int]]) -> Iterator[Constraint]:
        path, total = f"{BUDGET_PATH}.weight_size", self.quantizable.quantizable_weights
        weights = {name: members[0].weights for name, members in self.quantizable.groups.items()}
        # Activations are stored nowhere.
        bits = {
            name: {width: float(weights.get(name, 0) * width) for width in widths} for name, widths in choices.items()
        }
        if size.average_bits is not None:
            limit = size.average_bits * total
            yield Constraint(f"{path}.average_bits", "bits", bits, 0.0, limit, float(total))
        if size.ratio is not None:
            limit = size.ratio * total * FLOAT32_BITS
            yield Constraint(f"{path}.ratio", "of the FP32 size", bits, 0.0, limit, float(total * FLOAT32_BITS))
        if size.bytes is not None:
            in_bytes = {name: self._packed_bytes(name, widths) for name, widths in choices.items()}
            fixed, note = 0.0, ", without scales, biases and float constants"
            if self.fixed_bytes is not None:
                fixed, note = float(self.fixed_bytes()), ""
            yield Constraint(f"{path}.bytes", "bytes of the .bin", in_bytes, fixed, size.bytes, note=note)

    def _packed_bytes(self, group: str, widths: Sequence[int]) -> dict[int, float]:
        """Bytes of a group's weights by bit-width; as many for 4 as for 3 bits where few weights take more at 3."""
        members = self.quantizable.groups.get(group)
        found, largest = {}, 0
        for width in sorted(widths):
            if members is not None:
                zero_points = self.weights is not None and has_zero_points(members[0], width, self.weights)
                largest = max(largest, layer_bytes(members[0], width, zero_points=zero_points))
            found[width] = float(largest)
        return found

    @staticmethod
    def _latency_constraint(
        budget: LatencyBudget, table: LatencyTable, choices: Mapping[str, Sequence[int]]
    ) -> Constraint:
        """A sum over layers, which is what a search can keep exactly.

        Each float layer is charged for precision conversions on all its sides. Neighbours that both are float do not
        switch: the true time is less, never more, as far as the table tells.
        """
        cost = {
            name: {width: table.alone(name) if width == FLOAT_CHOICE else 0.0 for width in widths}
            for name, widths in choices.items()
        }
        return Constraint(
            f"{BUDGET_PATH}.latency.ratio_to_int8",
            f"times the latency of int8, with float layers in {table.key.precision}",
            cost,
            table.int8_ms,
            budget.ratio_to_int8 * table.int8_ms,
            table.int8_ms,
        )

    def _bops_constraint(self, bops: BopsBudget, choices: Mapping[str, Sequence[int]]) -> Constraint:
        cost = {name: dict.fromkeys(widths, 0.0) for name, widths in choices.items()}
        products: dict[tuple[str, str], float] = {}
        for layer in self.quantizable.layers:
            inputs = self.quantizable.activation_group(layer)
            if inputs is not None and inputs in choices:
                pair = (layer.group, inputs)
                products[pair] = products.get(pair, 0.0) + layer.macs
            else:
                for width in cost[layer.group]:
                    cost[layer.group][width] += float(_bops(layer, width, self.activation_bits))
        if bops.total is not None:
            return Constraint(f"{BUDGET_PATH}.bops.total", "bit operations", cost, 0.0, bops.total, products=products)
        assert bops.ratio is not None
        at_int8 = float(sum(layer.macs * INT8_BITS * INT8_BITS for layer in self.quantizable.layers))
        limit = bops.ratio * at_int8
        return Constraint(f"{BUDGET_PATH}.bops.ratio", "of INT8", cost, 0.0, limit, at_int8, products=products)


def _bops(layer: QuantizableLayer, bits: int, activation_bits: Mapping[str, int]) -> int:
    """MACs x weight bits x activation bits; an input that is not quantized counts 32 bits."""
    widths = [activation_bits[name] for name in layer.activation_quantizers]
    return layer.macs * bits * max(widths, default=FLOAT32_BITS)
