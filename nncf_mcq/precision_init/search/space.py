"""Groups and widths as parameters of an Optuna trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import Trial

from nncf_mcq.precision_init.costs import Constraint

GroupBits = dict[str, int]
"""Group name to bits, one entry for every group."""


@dataclass(frozen=True)
class SearchSpace:
    """One integer parameter for each group, named after it: the index of its width, since widths are ordered.

    Attributes:
        choices: Group name to the widths to choose from, ascending; in the order of the network.
    """

    choices: Mapping[str, tuple[int, ...]]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.choices)

    @property
    def lowest(self) -> GroupBits:
        """The smallest width of every group."""
        return {group: widths[0] for group, widths in self.choices.items()}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's description of the parameters."""
        return {group: IntDistribution(0, len(widths) - 1) for group, widths in self.choices.items()}

    def suggest(self, trial: Trial) -> GroupBits:
        """The widths that the study's sampler proposes."""
        return {group: widths[trial.suggest_int(group, 0, len(widths) - 1)] for group, widths in self.choices.items()}

    def parameters(self, group_bits: Mapping[str, int]) -> dict[str, int]:
        """The parameters that stand for a choice of widths."""
        return {group: widths.index(group_bits[group]) for group, widths in self.choices.items()}

    def matrix(self, values: Mapping[str, Mapping[int, float]], missing: float) -> NDArray[np.float64]:
        """(groups, largest number of widths) values by group and index of the width.

        Args:
            values: Group name and width to a value.
            missing: Fills the rows of groups that have fewer widths.
        """
        found = np.full((len(self.choices), max(map(len, self.choices.values()))), missing)
        for row, (group, widths) in enumerate(self.choices.items()):
            found[row, : len(widths)] = [values[group][bits] for bits in widths]
        return found

    def random_choice(
        self,
        random: np.random.Generator,
        constraints: Sequence[Constraint],
        accept: Callable[[GroupBits], bool],
    ) -> GroupBits | None:
        """A random choice that keeps every limit and is accepted; None where there is none.

        The groups are walked in random order, each gets a random one of the widths that the others can still pay for.
        What is not accepted is left by backtracking, so that the last accepted choice is found too.

        Args:
            random: Source of the randomness.
            constraints: Limits; their costs may not fall with the bits.
            accept: Whether a feasible choice will do; called once for each.
        """
        order = [self.groups[index] for index in random.permutation(len(self.groups))]
        choice = self.lowest
        # Groups that are not yet chosen have the lowest width: a prefix is feasible where the whole choice is.
        untried: list[list[int]] = []
        while True:
            if len(untried) < len(order):
                widths = self.choices[order[len(untried)]]
                untried.append([widths[index] for index in random.permutation(len(widths))])
            elif accept(dict(choice)):
                return choice
            while untried and not self._next_width(choice, order[len(untried) - 1], untried[-1], constraints):
                choice[order[len(untried) - 1]] = self.choices[order[len(untried) - 1]][0]
                untried.pop()
            if not untried:
                return None

    @staticmethod
    def _next_width(choice: GroupBits, group: str, untried: list[int], constraints: Sequence[Constraint]) -> bool:
        while untried:
            choice[group] = untried.pop()
            if all(constraint.is_met(choice) for constraint in constraints):
                return True
        return False
