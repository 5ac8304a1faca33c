"""Base of the precision initializers, the task that they are given, and the result that they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from nncf_mcq.config.budget import PrecisionParameters
from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.config.registry import PRECISION_PARAMETERS, Configurable, Registry
from nncf_mcq.config.search_report import GoalReport, SearchEnd
from nncf_mcq.metrics.recognition import RECOGNIZED_ON, RecognizedOutputs, recognize_outputs
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.policy import FLOAT_CHOICE, Policy, PolicyKey
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.second_order import SecondOrder
from nncf_mcq.precision_init.study import StoredSearch
from nncf_mcq.utils.json_values import JsonValue


@dataclass(frozen=True)
class PrecisionTask:
    """Task of a precision initializer: all that it may look at.

    Attributes:
        quantizable: The model's layers and the groups in which they share bits.
        choices: Group name to the widths to choose from, ascending; groups of layers, and of activation quantizers
            where those have more than one width. In the order of the network.
        activation_bits: Width of every activation quantizer unless the initializer decides otherwise.
        errors: Group name and width to the relative error that the width causes: in the layer's output, or in the
            activation itself.
        costs: Size and bit operations of any policy.
        evaluator: Scores policies; every unique score is counted.
        progress: Called with (done, total) as the search goes on.
        stored: Where the search is kept; None keeps it in memory only. The evaluator knows of it already.
        output_kinds: Name of an output to what it is, where that is known better than it can be recognized.
        second_order: What is known of groups of layers without scoring policies: from the kind of curvature and a
            function to report progress to group name and width to the predicted score.
    """

    quantizable: QuantizableModel
    choices: Mapping[str, tuple[int, ...]]
    activation_bits: int
    errors: Mapping[str, Mapping[int, float]]
    costs: CostModel
    evaluator: Evaluator
    progress: Callable[[int, int], None] = lambda done, total: None
    stored: StoredSearch | None = None
    output_kinds: Mapping[str, OutputKind] = field(default_factory=dict)
    second_order: Callable[[SecondOrder, Callable[[int, int], None]], Mapping[str, Mapping[int, float]]] | None = None

    @property
    def widest(self) -> dict[str, int]:
        """The largest width of every group; floating point where that is a choice."""
        return {group: widths[-1] for group, widths in self.choices.items()}

    @property
    def widest_quantized(self) -> dict[str, int]:
        """The largest width of every group, none of them left in floating point."""
        return {
            group: max(width for width in widths if width != FLOAT_CHOICE) for group, widths in self.choices.items()
        }

    def recognize_outputs(self) -> RecognizedOutputs:
        """What the outputs of the model are, by what it gives for the first search images."""
        reference = self.evaluator.folds[0].reference
        images = [tuple(values[index : index + 1] for values in reference) for index in range(len(reference[0]))]
        return recognize_outputs(self.quantizable.model, images[:RECOGNIZED_ON], self.output_kinds)

    def policy(self, group_bits: Mapping[str, int]) -> Policy:
        """The policy that gives each group its bits, and activations that are in no group the configured ones."""
        weight_bits = {layer.name: group_bits[layer.group] for layer in self.quantizable.layers}
        activation_bits = self.default_activation_bits()
        for group, members in self.quantizable.activation_groups.items():
            if group in group_bits:
                activation_bits |= dict.fromkeys(members, group_bits[group])
        return Policy(weight_bits, activation_bits)

    def group_bits(self, key: PolicyKey) -> dict[str, int] | None:
        """The choice that leads to a policy; None where no choice does."""
        weight_bits, activation_bits = dict(key[0]), dict(key[1])
        layers, points = self.quantizable.groups, self.quantizable.activation_groups
        found: dict[str, int] = {}
        for group, widths in self.choices.items():
            bits = weight_bits.get(layers[group][0].name) if group in layers else activation_bits.get(points[group][0])
            if bits not in widths:
                return None
            found[group] = bits
        return found if self.policy(found).key == key else None

    def default_activation_bits(self) -> dict[str, int]:
        """Every activation quantizer at the configured width."""
        return {point.name: self.activation_bits for point in self.quantizable.activation_points}


@dataclass(frozen=True)
class PrecisionResult:
    """The policy found, and how.

    Attributes:
        policy: Bits of every layer and activation quantizer.
        details: JSON values for the report, e.g. the sensitivities that the choice rests on.
        goal: What the policy keeps of the goal, where there is one.
        ended_by: What ended the search before it was through: the policy is the best so far.
    """

    policy: Policy
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    goal: GoalReport | None = None
    ended_by: SearchEnd | None = None


class PrecisionInitializer(Configurable, ABC):
    """Finds each layer's bit-width.

    Args:
        parameters: An instance of the class's own `Parameters`, as validated from the JSON.
    """

    Parameters: TypeAlias = PrecisionParameters
    """Parameters in the JSON; a subclass narrows `type` to its name, and `parameters` to its own."""

    parameters: Parameters

    searches: ClassVar[bool] = True
    """True if it scores policies: on images that the weights scored were not made from."""

    def required_bits(self, task_bits: tuple[int, ...]) -> tuple[int, ...]:
        """Widths that the weight table must hold for this initializer; by default those that it may choose from."""
        return task_bits

    def known_bits(self, quantizable: QuantizableModel) -> Mapping[str, int] | None:
        """The bit-width of each layer where it is known without a search: the weight table then holds no other.

        Args:
            quantizable: The model and its layers.

        Raises:
            ConfigError: The configuration names layers that the model does not have.
        """
        return None

    def check(self, costs: CostModel, choices: Mapping[str, tuple[int, ...]]) -> None:
        """Finds mistakes that can be told from the layers alone, before anything is computed.

        By default, whether the budget, where there is one, can be met.

        Args:
            costs: Costs of the model's policies; those in bytes may leave out what only the built model tells.
            choices: Group name to the widths to choose from, ascending.

        Raises:
            BudgetError: No policy meets the budget; names the smallest and largest reachable values.
        """
        if self.parameters.limits is not None:
            costs.constraints(self.parameters.limits, choices)

    @abstractmethod
    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Searches, and returns a policy that meets the budget.

        Raises:
            BudgetError: No policy meets the budget; names the smallest and largest reachable values.
        """


PRECISION_INITIALIZERS: Registry[PrecisionInitializer] = Registry(PRECISION_PARAMETERS)
"""Precision initializers by name."""
