"""Lowers a proposal until it keeps every limit: the same for every sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nncf_mcq.errors import BudgetError
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.search.space import GroupBits, SearchSpace
from nncf_mcq.precision_init.shrinkage import Sensitivities


def predicted_losses(task: PrecisionTask, sensitivities: Sensitivities | None = None) -> Sensitivities:
    """Group name and width to what the width is expected to add to the score, up to a common factor.

    Measured sensitivities where there are any. Otherwise the relative error of the layer's output from the weight
    table: noise-to-signal ratios of layers add up to that of the network's output (Lin, Talathi and Annapureddy, "Fixed
    Point Quantization of Deep Convolutional Networks", ICML 2016). The ratio is free of the layer's size already, so it
    is not weighted by the share of MACs or weights; sizes enter through the cost that a lower width saves.

    Args:
        task: The model and its weight table.
        sensitivities: As measured.
    """
    return task.errors if sensitivities is None else sensitivities


class Repair:
    """Makes proposals feasible, deterministically and never by raising a width.

    While a limit is exceeded, the lower width of least predicted loss per saved cost is taken, where the costs of
    several exceeded limits are added in shares of their excess, and what a group saves is computed at the current bits
    of the others. The last step may save more than is needed: then
    lowered groups get back what the limits allow, those of the largest loss first. The greedy rule is that of the
    linear relaxation of the multiple-choice knapsack (Sinha and Zoltners, Operations Research 27(3), 1979).

    Attributes:
        constraints: The limits.

    Args:
        space: Groups and widths.
        constraints: Limits; their costs may not fall with the bits, as those of `CostModel.constraints`.
        losses: Group name and width to predicted loss, for every group and width.

    Raises:
        BudgetError: Even the lowest widths exceed a limit.
    """

    def __init__(self, space: SearchSpace, constraints: Sequence[Constraint], losses: Sensitivities) -> None:
        self._space = space
        self.constraints = constraints
        self._losses = losses
        self._loss = space.matrix(losses, np.inf)
        self._cost = [None if constraint.products else space.matrix(constraint.cost, 0.0) for constraint in constraints]
        if not self.is_feasible(space.lowest):
            for constraint in constraints:
                constraint.check_reachable()
            paths = ", ".join(constraint.path for constraint in constraints)
            raise BudgetError(f"{paths}: no policy meets these limits together")

    def is_feasible(self, group_bits: Mapping[str, int]) -> bool:
        """Whether every limit is kept."""
        return all(constraint.is_met(group_bits) for constraint in self.constraints)

    def __call__(self, proposal: Mapping[str, int]) -> GroupBits:
        """The proposal itself where it keeps every limit, else a lowered one that does."""
        choice = dict(proposal)
        while not self.is_feasible(choice):
            group, bits = self._cheapest_step(choice)
            choice[group] = bits
        self._give_back(choice, proposal)
        return choice

    def _cheapest_step(self, choice: GroupBits) -> tuple[str, int]:
        """The group and lower width that lose least for what they save; one that saves something exists."""
        rows = np.arange(len(self._space.groups))
        current = np.array(list(self._space.parameters(choice).values()))
        saved = np.zeros_like(self._loss)
        for constraint, known in zip(self.constraints, self._cost, strict=True):
            if not constraint.is_met(choice):
                cost = self._space.matrix(constraint.marginal(choice), 0.0) if known is None else known
                excess = constraint.total(choice) - constraint.limit
                saved += (cost[rows, current][:, None] - cost) / excess
        saved[np.arange(self._loss.shape[1]) >= current[:, None]] = 0.0
        lost = np.maximum(self._loss - self._loss[rows, current][:, None], 0.0)
        ratio = np.full_like(saved, np.inf)
        np.divide(lost, saved, out=ratio, where=saved > 0)
        # Among equal ratios the one that saves least: no more is lowered than must be.
        candidates = np.flatnonzero(ratio == ratio.min())
        best = candidates[np.argmin(saved.flat[candidates])]
        row, column = np.unravel_index(best, ratio.shape)
        group = self._space.groups[row]
        return group, self._space.choices[group][column]

    def _give_back(self, choice: GroupBits, proposal: Mapping[str, int]) -> None:
        lowered = [group for group in self._space.groups if choice[group] != proposal[group]]
        lowered.sort(key=lambda group: self._losses[group][proposal[group]] - self._losses[group][choice[group]])
        for group in lowered:
            widths = self._space.choices[group]
            for bits in reversed([bits for bits in widths if choice[group] < bits <= proposal[group]]):
                if self.is_feasible({**choice, group: bits}):
                    choice[group] = bits
                    break
