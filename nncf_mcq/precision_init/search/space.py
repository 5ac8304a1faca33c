"""Groups and widths as parameters of an Optuna trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import Trial

from nncf_mcq.costs import Constraint

GroupBits = dict[str, int]
"""Group name to bits, one entry for every group."""


@dataclass(frozen=True)
class SearchSpace:
    """One integer parameter for each group, named after it: the index of its width, since widths are ordered.

    Attributes:
        groups: Names of the groups, in the order of the network.
        bits: Widths to choose from, ascending.
    """

    groups: tuple[str, ...]
    bits: tuple[int, ...]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's description of the parameters."""
        return {group: IntDistribution(0, len(self.bits) - 1) for group in self.groups}

    def suggest(self, trial: Trial) -> GroupBits:
        """The widths that the study's sampler proposes."""
        return {group: self.bits[trial.suggest_int(group, 0, len(self.bits) - 1)] for group in self.groups}

    def parameters(self, group_bits: Mapping[str, int]) -> dict[str, int]:
        """The parameters that stand for a choice of widths."""
        return {group: self.bits.index(group_bits[group]) for group in self.groups}

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
        choice = dict.fromkeys(self.groups, self.bits[0])
        # Groups that are not yet chosen have the lowest width: a prefix is feasible where the whole choice is.
        untried: list[list[int]] = []
        while True:
            if len(untried) < len(order):
                untried.append([self.bits[index] for index in random.permutation(len(self.bits))])
            elif accept(dict(choice)):
                return choice
            while untried and not self._next_width(choice, order[len(untried) - 1], untried[-1], constraints):
                choice[order[len(untried) - 1]] = self.bits[0]
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
