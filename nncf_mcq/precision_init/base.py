"""What every precision initializer is given and must return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nncf_mcq import registry
from nncf_mcq.costs import CostModel
from nncf_mcq.layers import QuantizableModel
from nncf_mcq.policy import Budget, Policy
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.study import StoredSearch


@dataclass(frozen=True)
class PrecisionTask:
    """What a precision initializer may look at.

    Attributes:
        quantizable: The model's layers and the groups in which they share bits.
        bits: Widths to choose from, ascending.
        activation_bits: Width of every activation quantizer unless the initializer decides otherwise.
        weight_errors: Group name and width to the relative error that the width causes in the layer's output.
        costs: Size and bit operations of any policy.
        evaluator: Scores policies; every unique score is counted.
        progress: Called with (done, total, what) as the search goes on.
        stored: Where the search is kept; None keeps it in memory only. The evaluator knows of it already.
    """

    quantizable: QuantizableModel
    bits: tuple[int, ...]
    activation_bits: int
    weight_errors: Mapping[str, Mapping[int, float]]
    costs: CostModel
    evaluator: Evaluator
    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    stored: StoredSearch | None = None

    def policy(self, group_bits: Mapping[str, int]) -> Policy:
        """The policy that gives each group of layers its bits, and every activation the configured ones."""
        weight_bits = {layer.name: group_bits[layer.group] for layer in self.quantizable.layers}
        return Policy(weight_bits, self.default_activation_bits())

    def default_activation_bits(self) -> dict[str, int]:
        """Every activation quantizer at the configured width."""
        return {point.name: self.activation_bits for point in self.quantizable.activation_points}


@dataclass(frozen=True)
class PrecisionResult:
    """The policy found, and how.

    Attributes:
        policy: Bits of every layer and activation quantizer.
        details: JSON values for the report, e.g. the sensitivities that the choice rests on.
    """

    policy: Policy
    details: Mapping[str, Any] = field(default_factory=dict)


class PrecisionInitializer(ABC):
    """Finds each layer's bit-width.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.
    """

    class Parameters(registry.Parameters):
        """Parameters in the JSON; a subclass narrows `type` to its name."""

        type: str

        may_change: ClassVar[frozenset[str]] = frozenset()
        """Parameters that may have another value when a search is resumed, e.g. its length."""

    searches: ClassVar[bool] = True
    """Whether policies are scored: images are then held out for it."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    def required_bits(self, task_bits: tuple[int, ...]) -> tuple[int, ...]:
        """Widths that the weight table must hold for this initializer; by default those that it may choose from."""
        return task_bits

    def check(self, costs: CostModel, bits: tuple[int, ...]) -> None:
        """Finds mistakes that can be told from the layers alone, before anything is computed.

        By default, whether the parameter `budget`, where there is one, can be met.

        Args:
            costs: Costs of the model's policies; those in bytes may leave out what only the built model tells.
            bits: Widths to choose from, ascending.

        Raises:
            BudgetError: No policy meets the budget; names the smallest and largest reachable values.
        """
        budget = getattr(self.parameters, "budget", None)
        if isinstance(budget, Budget):
            costs.constraints(budget, bits)

    @abstractmethod
    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Searches, and returns a policy that meets the budget.

        Raises:
            BudgetError: No policy meets the budget; names the smallest and largest reachable values.
        """
